//! Builds the stub libraries and the two programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::package::LIBRARY;
use super::run;
use crate::error::{Error, Result};

/// The libraries that libmesos asks for and that no system has any more: their name, and how the
/// versions of their symbols begin.
const STUBS: [(&str, &str); 2] =
    [("libcrypto.so.1.0.0", "OPENSSL_1"), ("libssl.so.1.0.0", "OPENSSL_1")];

/// The stub that does something: agents ask it how long a file is before they cache it.
const CURL: (&str, &str) = ("libcurl.so.4", "CURL_OPENSSL_3");

/// The source of the part of it that is used.
const CURL_SOURCE: &str = "curl.c";

/// The objects of CPython that the module refers to; they are only ever addressed.
const PYTHON: (&str, &str) =
    ("libpystub.so", "char PyExc_Exception[4096], PyExc_TypeError[4096], _Py_NoneStruct[4096];\n");

/// Builds the stub libraries beside the library in `directory`.
pub(super) fn build_stubs(directory: &Path) -> Result<()> {
    let listing = undefined(&directory.join(LIBRARY))?;
    for (name, versions) in STUBS {
        build_versioned(directory, name, &symbols_of(&listing, versions), "")?;
    }
    build_stub(directory, PYTHON.0, PYTHON.1, None)
}

/// What a library wants of others.
fn undefined(library: &Path) -> Result<String> {
    let listing = run("nm", Command::new("nm").args(["-D", "--undefined-only"]).arg(library))?;
    Ok(String::from_utf8_lossy(&listing).into_owned())
}

/// Builds a library of functions that do nothing, but for those that `source` has.
fn build_versioned(
    directory: &Path,
    name: &str,
    symbols: &BTreeMap<&str, Vec<&str>>,
    source: &str,
) -> Result<()> {
    let mut source = source.to_owned();
    for symbol in symbols.values().flatten().collect::<BTreeSet<_>>() {
        if !source.contains(&format!("{symbol}(")) {
            let _ = writeln!(source, "long {symbol}(void) {{ return 0; }}");
        }
    }
    let mut script = String::new();
    for (version, symbols) in symbols {
        let _ = writeln!(script, "{version} {{ global: {}; }};", symbols.join("; "));
    }
    build_stub(directory, name, &source, Some(&script))
}

/// The undefined symbols whose version begins so, by version.
fn symbols_of<'a>(listing: &'a str, versions: &str) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in listing.lines() {
        let Some((symbol, version)) =
            line.split_whitespace().last().and_then(|s| s.split_once('@'))
        else {
            continue;
        };
        let version = version.trim_start_matches('@');
        if version.starts_with(versions) {
            found.entry(version).or_default().push(symbol);
        }
    }
    found
}

fn build_stub(directory: &Path, name: &str, source: &str, script: Option<&str>) -> Result<()> {
    let c = directory.join(format!("{name}.c"));
    fs::write(&c, source).map_err(Error::path("write", &c))?;
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC", "-w", "-fno-builtin", "-o"]).arg(directory.join(name)).arg(&c);
    gcc.arg(format!("-Wl,-soname,{name}"));
    if let Some(script) = script {
        let map = directory.join(format!("{name}.map"));
        fs::write(&map, script).map_err(Error::path("write", &map))?;
        gcc.arg(format!("-Wl,--version-script={}", map.display()));
    }
    run(&format!("gcc for {name}"), &mut gcc)?;
    Ok(())
}

/// Builds the programs into `directory`, which will be `home`; they find the libraries there and in `library` by
/// themselves, wherever they are copied to.
pub(super) fn build_programs(
    directory: &Path,
    home: &Path,
    library: &Path,
    sources: &[(&str, &str)],
) -> Result<()> {
    for (name, text) in sources {
        let path = directory.join(name);
        fs::write(&path, text).map_err(Error::path("write", &path))?;
        if *name == CURL_SOURCE {
            let listing = undefined(&library.join(LIBRARY))?;
            build_versioned(directory, CURL.0, &symbols_of(&listing, CURL.1), text)?;
        }
    }
    for (name, _) in sources {
        let Some(program) = name.strip_suffix(".cpp") else { continue };
        let mut compiler = Command::new("g++");
        // gnu++17 predefines `unix`, which is a namespace of libmesos.
        compiler
            .args(["-std=gnu++17", "-Uunix", "-O1", "-Wall", "-o"])
            .arg(directory.join(program));
        compiler.arg(directory.join(name));
        compiler.args([directory, library].map(|place| format!("-L{}", place.display())));
        compiler.arg(format!(
            "-Wl,--no-as-needed,--disable-new-dtags,--allow-shlib-undefined,-rpath,{}:{}",
            home.display(),
            library.display()
        ));
        compiler.args(STUBS.iter().chain([&CURL]).map(|(stub, _)| format!("-l:{stub}")));
        compiler.args([format!("-l:{}", PYTHON.0), format!("-l:{LIBRARY}")]);
        run(&format!("g++ for {program}"), &mut compiler)?;
    }
    Ok(())
}
