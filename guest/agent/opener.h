// Opens what the agent itself must not: names are resolved and unix sockets reached and made by a child process that has become
// the user. The descriptor comes back through a socket that the agent waits for in its loop.
#ifndef BANGER_OPENER_H
#define BANGER_OPENER_H
#include "request.h"
#include "stream.h"

#define OPENER_LIMIT_MS 15000

struct opener_reply {
  // An errno; 0: the descriptor is there.
  int reason;
  char message[96];
};

// Begins to connect (STREAM_DIAL), or to listen on a unix socket (STREAM_LISTEN). false: `*error` is a sentence, `errno` the reason.
// The child of a unix socket that is listened on stays until `s->opener.fd` is closed, and removes the file.
bool opener_start(struct stream *s, const struct target_request *request, const char **error);
// The child has spoken or ended. The descriptor, or -1 with the reason in the reply, OPENER_PENDING when it has not after all.
#define OPENER_PENDING (-1)
int opener_take(struct stream *s, struct opener_reply *reply);
#endif
