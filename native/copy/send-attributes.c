// Extended attributes on the way out.
#define _GNU_SOURCE
#include "report.h"
#include "send.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

// With names and lengths it stays below TAR_EXTENDED.
#define TOGETHER (TAR_EXTENDED - (128 << 10))

static uint8_t values[TOGETHER];
static size_t values_used;
static char names[TAR_ATTRIBUTE];
static struct tar_attribute attributes[TAR_ATTRIBUTES];

static bool is_sent(const char *name) {
  static const char *const exact[] = {"security.capability", "system.posix_acl_access", "system.posix_acl_default"};
  for (size_t i = 0; i < sizeof exact / sizeof *exact; i++)
    if (strcmp(name, exact[i]) == 0) return true;
  if (strncmp(name, "user.", 5) == 0) return true;
  return strncmp(name, "trusted.", 8) == 0 && geteuid() == 0;
}

static ssize_t read_value(int fd, const char *path, const char *name) {
  size_t room = sizeof values - values_used;
  if (room > TAR_ATTRIBUTE) room = TAR_ATTRIBUTE;
  // Room 0 would ask for the length only.
  if (room == 0) return errno = ERANGE, -1;
  return fd >= 0 ? fgetxattr(fd, name, values + values_used, room) : lgetxattr(path, name, values + values_used, room);
}

static void add(int fd, const char *path, const char *name, struct tar_entry *entry, const char *shown) {
  size_t cost = 3 * strlen(name) + 64;
  ssize_t length = entry->attribute_count < TAR_ATTRIBUTES && sizeof values - values_used > cost ? read_value(fd, path, name) : (errno = ERANGE, -1);
  // It went meanwhile.
  if (length < 0 && errno == ENODATA) return;
  if (length < 0) {
    copy_problem("cannot read the attribute %s of %s: %s", name, shown, errno == ERANGE ? "its attributes are too big" : strerror(errno));
    return;
  }
  attributes[entry->attribute_count++] = (struct tar_attribute){name, values + values_used, (size_t)length};
  values_used += (size_t)length + cost < sizeof values - values_used ? (size_t)length + cost : sizeof values - values_used;
}

void copy_send_attributes(int fd, const char *path, const char *shown, struct tar_entry *entry) {
  values_used = 0;
  entry->attributes = attributes;
  entry->attribute_count = 0;
  ssize_t length = fd >= 0 ? flistxattr(fd, names, sizeof names) : llistxattr(path, names, sizeof names);
  if (length < 0 && errno != ENOTSUP && errno != ENODATA && errno != ENOENT) copy_problem("cannot read the attributes of %s: %s", shown, strerror(errno));
  for (ssize_t at = 0; at < length; at += (ssize_t)strlen(names + at) + 1)
    if (is_sent(names + at)) add(fd, path, names + at, entry, shown);
}
