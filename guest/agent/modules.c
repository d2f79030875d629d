#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stage1.h"
#include "util.h"

static void load_module(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    problem("kernel module %s: %s", path, strerror(errno));
    return;
  }
  if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST) problem("kernel module %s: %s", path, strerror(errno));
  close(fd);
}

void modules_load(const char *list) {
  char *text = read_file(list, 1 << 16, NULL);
  if (!text) {
    if (errno != ENOENT) problem("cannot read %s: %s", list, strerror(errno));
    return;
  }
  char *rest = text, *line;
  while ((line = strsep(&rest, "\n")))
    if (*line) load_module(line);
}
