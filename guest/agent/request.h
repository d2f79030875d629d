// EXEC, DIAL and LISTEN payloads, checked.
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
  // The bulk port in place of descriptor `bulk_fd`.
  bool bulk;
  uint8_t bulk_fd;
  uint16_t cols, rows;
  char *text;
};

bool exec_request_parse(struct exec_request *request, const uint8_t *payload, size_t length);
void exec_request_free(struct exec_request *request);

// Where to connect or to listen: a host with its port, or the path of a unix socket.
struct target_request {
  char host[256], path[256], user[160];
  uint16_t port;
};
// `any_port`: 0 will do.
bool target_request_parse(struct target_request *request, const uint8_t *payload, size_t length, bool any_port);
#endif
