// Sockets that listen for the host.
#ifndef BANGER_LISTEN_H
#define BANGER_LISTEN_H
#include <netinet/in.h>

#include "request.h"
#include "stream.h"

#define LISTEN_BACKLOG 64

struct peer {
  // Empty for a unix socket.
  char host[INET6_ADDRSTRLEN];
  uint16_t port;
};

// Listens; a unix socket is not there before its opener has replied. false: `*error` is a sentence, `errno` the reason.
bool listen_start(struct stream *s, const struct target_request *request, const char **error);
// Takes one connection of `s->listeners[which]`. -1 with errno.
int listen_accept(const struct stream *s, int which, struct peer *peer);
#endif
