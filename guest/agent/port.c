#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "port.h"
#include "util.h"

#define PORTS "/sys/class/virtio-ports"

int port_open(const char *wanted) {
  DIR *dir = opendir(PORTS);
  errno = ENODEV;
  if (!dir) return -1;
  int fd = -1;
  struct dirent *entry;
  while (fd < 0 && (entry = readdir(dir))) {
    char path[300], name[64];
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, PORTS "/%.200s/name", entry->d_name);
    if (!read_line(path, name, sizeof name) || strcmp(name, wanted) != 0) continue;
    snprintf(path, sizeof path, "/dev/%.200s", entry->d_name);
    fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) break;
  }
  int reason = fd < 0 && errno != EBUSY ? ENODEV : errno;
  closedir(dir);
  errno = reason;
  return fd;
}
