// EXEC and DIAL payloads, checked.
#ifndef BANGER_REQUEST_H
#define BANGER_REQUEST_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_WORDS 8192

struct exec_request {
  // NULL-terminated; pointers into `text`.
  char **argv, **env;
  size_t arg_count, env_count;
  const char *cwd, *user, *term, *line;
  bool tty, stdin_open, login, builtin;
  uint16_t cols, rows;
  char *text;
};

bool exec_request_parse(struct exec_request *request, const uint8_t *payload, size_t length);
void exec_request_free(struct exec_request *request);

struct dial_request {
  char host[64];
  uint16_t port;
};
bool dial_request_parse(struct dial_request *request, const uint8_t *payload, size_t length);
#endif
