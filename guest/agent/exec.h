#ifndef BANGER_EXEC_H
#define BANGER_EXEC_H
#include "config.h"
#include "request.h"
#include "stream.h"

// Starts the command; fills the stream's descriptors and pid. false: `*error` is a sentence, `errno` the reason.
bool exec_start(struct stream *s, const struct exec_request *request, const struct config *config, const char **error);
#endif
