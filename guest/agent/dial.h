#ifndef BANGER_DIAL_H
#define BANGER_DIAL_H
#include "request.h"
#include "stream.h"

// Begins to connect: to an address or `localhost` (127.0.0.1, then ::1) here, to names and unix sockets by an opener. false: `*error`
// is a sentence, `errno` the reason.
bool dial_start(struct stream *s, const struct target_request *request, const char **error);
// The descriptor became writable: connected, trying the next address, or failed (`s->failure`).
void dial_continue(struct stream *s);
#endif
