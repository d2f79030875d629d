// How streams begin: EXEC, DIAL, LISTEN, and the connections that listeners take.
#ifndef BANGER_OPENING_H
#define BANGER_OPENING_H
#include "server.h"

// Answers at once, or after `opening_continue`.
void opening_begin(struct server *server, const struct frame *frame);
// A connection or an opener has come to something; frees the stream when that is a failure.
void opening_continue(struct server *server, struct stream *stream);
// An opener has taken too long: says so. Always true: the stream is over.
bool opening_timed_out(struct server *server, const struct stream *stream);
// Takes a connection of a listener.
void opening_accept(struct server *server, const struct stream *listener, int which);
#endif
