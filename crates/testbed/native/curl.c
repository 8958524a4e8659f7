// What an agent needs of libcurl: the length of what a URL of http names, by a HEAD request. Without an answer
// the agent does not put the file into its fetcher's cache. Redirects are not followed; TLS there is none.
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

// The numbers of curl's own headers.
enum { OPT_NOBODY = 44, OPT_URL = 10002 };
enum { INFO_RESPONSE_CODE = 0x200002, INFO_CONTENT_LENGTH_DOWNLOAD = 0x30000f };
enum { OK = 0, UNSUPPORTED = 1, NOT_CONNECTED = 7, NO_ANSWER = 52 };

// For a server that takes the connection and then says nothing, in seconds.
enum { ANSWER_WITHIN = 10 };

struct easy {
  char url[2048];
  int nobody;
  long status;
  double length;
};

int curl_global_init(long flags) {
  (void) flags;
  return OK;
}

struct easy* curl_easy_init(void) {
  struct easy* easy = calloc(1, sizeof(struct easy));
  if (easy != NULL) {
    easy->length = -1;
  }
  return easy;
}

void curl_easy_cleanup(struct easy* easy) {
  free(easy);
}

int curl_easy_setopt(struct easy* easy, int option, ...) {
  va_list arguments;
  va_start(arguments, option);
  if (option == OPT_URL) {
    snprintf(easy->url, sizeof easy->url, "%s", va_arg(arguments, const char*));
  } else if (option == OPT_NOBODY) {
    easy->nobody = va_arg(arguments, int);
  }
  va_end(arguments);
  return OK;
}

static int connected(const char* host, const char* port) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  struct addrinfo* found = NULL;
  if (getaddrinfo(host, port, &hints, &found) != 0) {
    return -1;
  }
  int fd = -1;
  for (struct addrinfo* one = found; one != NULL && fd < 0; one = one->ai_next) {
    fd = socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC, one->ai_protocol);
    if (fd >= 0 && connect(fd, one->ai_addr, one->ai_addrlen) != 0) {
      close(fd);
      fd = -1;
    }
  }
  freeaddrinfo(found);
  return fd;
}

static int head(struct easy* easy, int fd, const char* authority, const char* path) {
  struct timeval within = {.tv_sec = ANSWER_WITHIN};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &within, sizeof within);
  char text[8192];
  int size = snprintf(text, sizeof text,
      "HEAD %s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\nConnection: close\r\n\r\n", path, authority);
  if (send(fd, text, (size_t) size, MSG_NOSIGNAL) != size) {
    return NO_ANSWER;
  }
  size_t got = 0;
  ssize_t more;
  text[0] = '\0';
  while (got < sizeof text - 1 && strstr(text, "\r\n\r\n") == NULL &&
         (more = recv(fd, text + got, sizeof text - 1 - got, 0)) > 0) {
    got += (size_t) more;
    text[got] = '\0';
  }
  if (sscanf(text, "HTTP/1.%*c %ld", &easy->status) != 1) {
    return NO_ANSWER;
  }
  for (char* line = text; line != NULL; line = strchr(line, '\n')) {
    line += *line == '\n';
    if (strncasecmp(line, "content-length:", 15) == 0) {
      easy->length = atof(line + 15);
    }
  }
  return OK;
}

int curl_easy_perform(struct easy* easy) {
  char authority[1024] = "";
  if (!easy->nobody || sscanf(easy->url, "http://%1023[^/?#]", authority) != 1) {
    return UNSUPPORTED;
  }
  const char* path = easy->url + strlen("http://") + strlen(authority);
  char host[1024];
  strcpy(host, authority);
  char* colon = strrchr(host, ':');
  if (colon != NULL) {
    *colon = '\0';
  }
  int fd = connected(host, colon != NULL ? colon + 1 : "80");
  if (fd < 0) {
    return NOT_CONNECTED;
  }
  int result = head(easy, fd, authority, *path == '/' ? path : "/");
  close(fd);
  return result;
}

int curl_easy_getinfo(struct easy* easy, int info, void* to) {
  if (info == INFO_CONTENT_LENGTH_DOWNLOAD) {
    *(double*) to = easy->length;
  } else if (info == INFO_RESPONSE_CODE) {
    *(long*) to = easy->status;
  }
  return OK;
}

const char* curl_easy_strerror(int code) {
  switch (code) {
    case OK: return "no error";
    case UNSUPPORTED: return "only HEAD requests by http";
    case NOT_CONNECTED: return "the server is not reached";
    default: return "the server does not answer";
  }
}
