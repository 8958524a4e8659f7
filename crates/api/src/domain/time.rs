//! Moments as people read them.

use peloton_model::UnixMs;

/// A moment in UTC, as RFC 3339 writes it: `2016-09-01T12:00:00.250Z`.
pub(super) fn rfc3339(at: UnixMs) -> String {
    let (secs, ms) = (at / 1000, at % 1000);
    let (days, second) = (secs / 86_400, secs % 86_400);
    // The calendar repeats every 400 years of 146,097 days; years are counted from March, so that the
    // leap day is the last of its year.
    let from_march_of_0 = days + 719_468;
    let (era, day) = (from_march_of_0 / 146_097, from_march_of_0 % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = 400 * era + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn known_moments() {
        for (at, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_472_731_200_250, "2016-09-01T12:00:00.250Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(at), text);
        }
    }
}
