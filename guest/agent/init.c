// Which init the image brings, and whether it can be trusted to run a system.
#define _GNU_SOURCE
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stage1.h"
#include "util.h"

static bool is_program(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

const char *find_init(enum init_mode mode, bool *is_systemd) {
  // The kernel's own order, then systemd where no link points at it.
  static const char *const candidates[] = {"/sbin/init", "/etc/init", "/bin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd"};
  if (mode == INIT_AGENT) return NULL;
  for (size_t i = 0; i < COUNT_OF(candidates); i++) {
    char real[PATH_MAX];
    if (!is_program(candidates[i]) || !realpath(candidates[i], real)) continue;
    const char *name = base_name(real);
    *is_systemd = strcmp(name, "systemd") == 0;
    // Container images of busybox have an init that starts nothing without the scripts of a distribution.
    if (mode == INIT_AUTO && strcmp(name, "busybox") == 0 && !is_program("/sbin/openrc")) continue;
    return candidates[i];
  }
  if (mode == INIT_IMAGE) problem("the image has no init");
  return NULL;
}
