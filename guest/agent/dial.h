#ifndef BANGER_DIAL_H
#define BANGER_DIAL_H
#include "request.h"
#include "stream.h"

// Begins to connect; an address or `localhost` (127.0.0.1, then ::1). false with errno.
bool dial_start(struct stream *s, const struct dial_request *request);
// The descriptor became writable: connected, trying the next address, or failed (`s->failure`).
void dial_continue(struct stream *s);
#endif
