#define _GNU_SOURCE
#include "dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "util.h"

static bool parse_address(struct sockaddr_storage *out, socklen_t *length, const char *host, uint16_t port) {
  struct sockaddr_in *v4 = (struct sockaddr_in *)out;
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
  memset(out, 0, sizeof *out);
  if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    *length = sizeof *v4;
    return true;
  }
  if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    *length = sizeof *v6;
    return true;
  }
  return false;
}

static bool begin(struct stream *s, const struct sockaddr_storage *address, socklen_t length) {
  int one = 1;
  int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(fd, (const struct sockaddr *)address, length) < 0 && errno != EINPROGRESS) {
    int error = errno;
    close_fd(&fd);
    errno = error;
    return false;
  }
  s->in_fd = fd;
  s->connecting = true;
  return true;
}

static bool begin_next(struct stream *s) {
  if (s->next_length == 0) return false;
  socklen_t length = s->next_length;
  s->next_length = 0;
  return begin(s, &s->next, length);
}

bool dial_start(struct stream *s, const struct dial_request *request) {
  struct sockaddr_storage first;
  socklen_t length;
  s->out[1].end_due = true;
  const char *host = request->host;
  if (strcasecmp(host, "localhost") == 0) {
    host = "127.0.0.1";
    parse_address(&s->next, &s->next_length, "::1", request->port);
  }
  if (!parse_address(&first, &length, host, request->port)) {
    errno = EINVAL;
    return false;
  }
  if (begin(s, &first, length)) return true;
  int error = errno;
  if (begin_next(s)) return true;
  errno = error;
  return false;
}

void dial_continue(struct stream *s) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(s->in_fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) error = errno;
  s->connecting = false;
  if (error != 0) {
    close_fd(&s->in_fd);
    // The first address's reason is the one people know.
    if (s->failure == 0) s->failure = error;
    begin_next(s);
    return;
  }
  s->failure = 0;
  s->out[0].fd = fcntl(s->in_fd, F_DUPFD_CLOEXEC, 3);
  if (s->out[0].fd < 0) s->failure = errno;
  s->opened = s->failure == 0;
}
