// The guest agent of banger: /init of the initrd, PID 1 or a service of the image's init, and the host's hand in the guest.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../native/copy/copy.h"
#include "../sftp/sftp.h"
#include "config.h"
#include "console.h"
#include "keep.h"
#include "programs.h"
#include "server.h"
#include "stage1.h"
#include "tree.h"
#include "util.h"

static void fill_standard_fds(void) {
  int fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd < 3) fd = dup(fd);
  if (fd > 2) close(fd);
}

static void protect_from_oom(void) { write_file("/proc/self/oom_score_adj", 0644, "-1000", 5); }

static int run_as_init(void) {
  struct config *config = must_alloc(sizeof *config);
  stage1_run(config);
  protect_from_oom();
  keep_prepare();
  console_start();
  return serve(config, &(struct serve_options){.fd = -1, .is_init = true, .child_ended = console_child_ended});
}

static int usage(void) {
  fprintf(stderr, "usage: agent serve [--config FILE] [--fd N | --listen PATH] | agent sftp | agent copy ... | agent keep ... | agent tree ... | agent stat | agent ports ... | agent clock ... | agent udp ... | agent --version\n");
  return 2;
}

// For tests on the host: one connection after another, like a port whose other end comes and goes.
static int listen_at(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || strlen(path) >= sizeof address.sun_path) return -1;
  strcpy(address.sun_path, path);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 8) < 0) return -1;
  return fd;
}

static int run_as_service(int argc, char **argv) {
  struct config *config = must_alloc(sizeof *config);
  struct serve_options options = {.fd = -1};
  const char *path = CONFIG_PATH, *error = "";
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--config") == 0)
      path = argv[i + 1];
    else if (strcmp(argv[i], "--fd") == 0)
      options.fd = atoi(argv[i + 1]);
    else if (strcmp(argv[i], "--listen") == 0 && (options.fd = listen_at(argv[i + 1])) >= 0)
      continue;
    else
      return usage();
  }
  if (!config_load(config, path, &error)) {
    say("%s: %s", path, error);
    return 1;
  }
  if (options.fd < 0) {
    log_to_kernel();
    protect_from_oom();
    claim_guest();
    keep_prepare();
  }
  return serve(config, &options);
}

int main(int argc, char **argv) {
  fill_standard_fds();
  if (getpid() == 1 && access("/banger/config", F_OK) == 0) return run_as_init();
  if (argc == 2 && strcmp(argv[1], "--version") == 0) {
    printf("%s protocol %d\n", AGENT_VERSION, AGENT_PROTOCOL);
    return 0;
  }
  // Programs that the host runs by EXEC with `builtin`: each in a process of its own, as the user it is for.
  static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
  } programs[] = {{"serve", run_as_service}, {"sftp", sftp_main}, {"copy", copy_main}, {"keep", keep_main}, {"tree", tree_main}, {"stat", figures_main},
    {"ports", ports_main}, {"clock", clock_main}, {"udp", udp_main}, {"console", console_main}};
  for (size_t i = 0; argc >= 2 && i < COUNT_OF(programs); i++)
    if (strcmp(argv[1], programs[i].name) == 0) return programs[i].run(argc - 1, argv + 1);
  return usage();
}
