#define _GNU_SOURCE
#include "stage1.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "console.h"
#include "util.h"

static bool copy_file(const char *from, const char *to, unsigned mode) {
  size_t length;
  char *data = read_file(from, 64 << 20, &length);
  if (!data) return false;
  bool ok = make_parent_dirs(to) && write_file(to, mode, data, length);
  free(data);
  return ok;
}

// The archive vanishes with the switch to the image's root; what is needed later goes below /run now.
static void keep_files(const struct config *config) {
  make_dirs("/run/banger");
  if (!copy_file("/init", AGENT_PATH, 0755)) problem("cannot keep the agent: %s", strerror(errno));
  if (!copy_file("/banger/config", CONFIG_PATH, 0600)) problem("cannot keep the configuration: %s", strerror(errno));
  for (size_t i = 0; i < config->file_count; i++) {
    const struct file_spec *file = &config->files[i];
    if (!copy_file(file->source, file->path, file->mode)) problem("cannot write %s: %s", file->path, strerror(errno));
  }
}

// Beside the image's init from the start: it serves while that is still booting. systemd's service takes it over (claim.c);
// with another init it stays a process that belongs to nobody.
static void start_beside_init(void) {
  pid_t pid = fork();
  if (pid != 0) {
    if (pid < 0) problem("cannot start the agent: %s", strerror(errno));
    return;
  }
  setsid();
  int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3 && null >= 0; fd++) dup2(null, fd);
  execl(AGENT_PATH, "agent", "serve", (char *)NULL);
  _exit(127);
}

// The kernel gives PID 1 its console as 0 to 2, or nothing when there is none.
static void open_console(void) {
  int fd = open("/dev/console", O_RDWR | O_NOCTTY);
  if (fd < 0) fd = open("/dev/null", O_RDWR);
  for (int i = 0; i < 3 && fd >= 0; i++)
    if (fd != i) dup2(fd, i);
  if (fd > 2) close(fd);
}

void stage1_run(struct config *config) {
  const char *error = "";
  bool is_systemd = false;
  umask(022);
  mount_early();
  open_console();
  modules_load("/banger/modules");
  if (!config_load(config, "/banger/config", &error)) problem("%s", error);
  keep_files(config);
  switch_root();
  mount_drives(config);
  network_up(config);
  write_runtime_files(config);
  const char *init = find_init(config->init, &is_systemd);
  problems_save(PROBLEMS_PATH);
  if (!init) {
    mount_system();
    return;
  }
  if (is_systemd) prepare_tmp();
  mount_dev();
  start_beside_init();
  console_start();
  char *const argv[] = {(char *)init, NULL};
  char *const env[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", "TERM=linux", NULL};
  execve(init, argv, env);
  problem("cannot start %s: %s", init, strerror(errno));
  problems_save(PROBLEMS_PATH);
  mount_system();
}
