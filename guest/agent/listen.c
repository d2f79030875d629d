#define _GNU_SOURCE
#include "listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "address.h"
#include "opener.h"
#include "util.h"

static int open_address(const char *host, uint16_t port, bool both_families) {
  struct sockaddr_storage address;
  socklen_t length;
  int one = 1, only = !both_families;
  if (!address_parse(&address, &length, host, port)) {
    errno = EINVAL;
    return -1;
  }
  int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (address.ss_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
  if (bind(fd, (const struct sockaddr *)&address, length) == 0 && listen(fd, LISTEN_BACKLOG) == 0) return fd;
  int reason = errno;
  close_fd(&fd);
  errno = reason;
  return -1;
}

static uint16_t port_of(int fd) {
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  struct peer self = {0};
  if (getsockname(fd, (struct sockaddr *)&address, &length) == 0) address_text(&address, self.host, &self.port);
  return self.port;
}

// Either of the two will do, on the same port.
static void listen_locally(struct stream *s, uint16_t port) {
  s->listeners[0] = open_address("127.0.0.1", port, false);
  int reason = errno;
  s->listeners[1] = open_address("::1", s->listeners[0] >= 0 ? port_of(s->listeners[0]) : port, false);
  if (s->listeners[0] < 0 && s->listeners[1] < 0) errno = reason;
}

static void listen_everywhere(struct stream *s, uint16_t port) {
  s->listeners[0] = open_address("::", port, true);
  // A kernel without IPv6.
  if (s->listeners[0] < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) s->listeners[0] = open_address("0.0.0.0", port, false);
}

bool listen_start(struct stream *s, const struct target_request *request, const char **error) {
  if (request->path[0]) return opener_start(s, request, error);
  if (strcasecmp(request->host, "localhost") == 0)
    listen_locally(s, request->port);
  else if (strcmp(request->host, "*") == 0)
    listen_everywhere(s, request->port);
  else
    s->listeners[0] = open_address(request->host, request->port, false);
  if (s->listeners[0] >= 0 || s->listeners[1] >= 0) {
    s->port = port_of(s->listeners[0] >= 0 ? s->listeners[0] : s->listeners[1]);
    s->opened = true;
    return true;
  }
  *error = errno == EINVAL ? "not an address to listen on" : strerror(errno);
  return false;
}

int listen_accept(const struct stream *s, int which, struct peer *peer) {
  struct sockaddr_storage address = {0};
  socklen_t length = sizeof address;
  int one = 1;
  *peer = (struct peer){0};
  int fd = accept4(s->listeners[which], (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return -1;
  if (address.ss_family != AF_INET && address.ss_family != AF_INET6) return fd;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  address_text(&address, peer->host, &peer->port);
  return fd;
}
