#define _GNU_SOURCE
#include "dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "address.h"
#include "opener.h"
#include "util.h"

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

bool dial_start(struct stream *s, const struct target_request *request, const char **error) {
  struct sockaddr_storage first;
  socklen_t length;
  s->out[1].end_due = true;
  const char *host = request->host;
  if (strcasecmp(host, "localhost") == 0) {
    host = "127.0.0.1";
    address_parse(&s->next, &s->next_length, "::1", request->port);
  }
  if (!address_parse(&first, &length, host, request->port)) return opener_start(s, request, error);
  if (begin(s, &first, length)) return true;
  int reason = errno;
  if (begin_next(s)) return true;
  errno = reason;
  *error = strerror(reason);
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
  s->failure = stream_adopt(s, s->in_fd) ? 0 : errno;
}
