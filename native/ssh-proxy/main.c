// ProxyCommand of ssh: the way to a VM through the daemon's socket.
//   ssh-proxy [--fdpass] [--start LAUNCHER [--env NAME=VALUE]...] SOCKET HOST
#include "proxy.h"

#include <signal.h>
#include <string.h>

enum { MAX_HOST = 255 };

static const char usage[] = "usage: ssh-proxy [--fdpass] [--start LAUNCHER [--env NAME=VALUE]...] SOCKET HOST";

static struct proxy_options parse(int argc, char **argv) {
  struct proxy_options options = { 0 };
  int i = 1;
  for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
    if (strcmp(argv[i], "--fdpass") == 0) options.fdpass = true;
    else if (strcmp(argv[i], "--start") == 0 && i + 1 < argc) options.launcher = argv[++i];
    else if (strcmp(argv[i], "--env") == 0 && i + 1 < argc && strchr(argv[i + 1], '=') != NULL && options.env_count < MAX_ENV)
      options.env[options.env_count++] = argv[++i];
    else fail("%s", usage);
  }
  if (argc - i != 2) fail("%s", usage);
  options.socket_path = argv[i];
  options.host = argv[i + 1];
  size_t length = strlen(options.host);
  if (length == 0 || length > MAX_HOST || strchr(options.host, '\n') != NULL) fail("%s is not a name of a VM", options.host);
  return options;
}

int main(int argc, char **argv) {
  // A reader that is gone is told by write, not by a signal.
  signal(SIGPIPE, SIG_IGN);
  struct proxy_options options = parse(argc, argv);
  int fd = gate_open(&options);
  set_nonblocking(fd, false);
  if (options.fdpass) pass_fd(1, fd);
  else relay(fd);
  return 0;
}
