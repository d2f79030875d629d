// Owners, modes, times and extended attributes of what was made. The order matters: changing the owner drops setuid bits and capabilities, and the mode's group bits are an ACL's mask.
#define _GNU_SOURCE
#include "receive.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

// Attributes that could not be set are told once for each name.
#define TOLD_NAMES 64

static const char *const acl_names[2] = {"system.posix_acl_access", "system.posix_acl_default"};
static bool owners;
static uid_t own_uid;
static gid_t own_gid;

void copy_attributes_open(const struct copy_receive_options *options) {
  own_uid = geteuid();
  own_gid = getegid();
  owners = options->owners && own_uid == 0;
}

bool copy_keeps_owners(void) { return owners; }

static mode_t kept_mode(uint32_t mode) { return (mode_t)(owners ? mode & 07777 : mode & 01777); }

static bool is_acl(const char *name) { return strcmp(name, acl_names[0]) == 0 || strcmp(name, acl_names[1]) == 0; }

static bool is_kept(const char *name) {
  if (strncmp(name, "user.", 5) == 0) return true;
  return owners && (strncmp(name, "trusted.", 8) == 0 || strcmp(name, "security.capability") == 0 || is_acl(name));
}

static void tell_attribute(const char *name, const char *shown, int error) {
  static char told[TOLD_NAMES][256];
  static size_t count;
  for (size_t i = 0; i < count; i++)
    if (strncmp(told[i], name, 255) == 0) return;
  if (count == TOLD_NAMES) return;
  snprintf(told[count++], 256, "%s", name);
  copy_problem("cannot set the attribute %s of %s (and maybe others): %s", name, shown, strerror(error));
}

static void set_attribute(int fd, const char *path, const struct tar_attribute *attribute, const char *shown) {
  int n = fd >= 0 ? fsetxattr(fd, attribute->name, attribute->value, attribute->length, 0) : lsetxattr(path, attribute->name, attribute->value, attribute->length, 0);
  if (n < 0) tell_attribute(attribute->name, shown, errno);
}

static void set_attributes(int fd, const char *path, const struct tar_entry *entry, bool acls) {
  for (size_t i = 0; i < entry->attribute_count; i++) {
    const struct tar_attribute *attribute = &entry->attributes[i];
    if (is_kept(attribute->name) && is_acl(attribute->name) == acls) set_attribute(fd, path, attribute, entry->name);
  }
}

static bool has_kept_attributes(const struct tar_entry *entry) {
  for (size_t i = 0; i < entry->attribute_count; i++)
    if (is_kept(entry->attributes[i].name)) return true;
  return false;
}

// What a file has right after it was made, if it needs nothing but contents, owner and time.
mode_t copy_first_mode(const struct copy_level *at, const struct tar_entry *entry) {
  return at->plain && !has_kept_attributes(entry) ? (mode_t)entry->mode & 0777 : 0600;
}

static bool needs_owner(const struct copy_level *at, uint32_t uid, uint32_t gid) { return owners && !(at->plain && uid == own_uid && gid == own_gid); }

static void set_times(int directory, const char *file, const struct timespec *mtime, const char *shown) {
  struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, *mtime};
  int n = file ? utimensat(directory, file, times, AT_SYMLINK_NOFOLLOW) : futimens(directory, times);
  if (n < 0) copy_problem("cannot set the time of %s: %s", shown, strerror(errno));
}

void copy_set_file(int fd, const struct copy_level *at, const struct tar_entry *entry) {
  mode_t mode = kept_mode(entry->mode);
  if (needs_owner(at, entry->uid, entry->gid) && fchown(fd, entry->uid, entry->gid) < 0) {
    copy_problem("cannot set the owner of %s: %s", entry->name, strerror(errno));
    mode &= (mode_t)~06000;
  }
  set_attributes(fd, NULL, entry, false);
  if (owners && at->inherits) fremovexattr(fd, acl_names[0]);
  mode_t first = at->plain ? copy_first_mode(at, entry) : 0;
  if ((!at->plain || mode != first) && fchmod(fd, mode) < 0) copy_problem("cannot set the mode of %s: %s", entry->name, strerror(errno));
  set_attributes(fd, NULL, entry, true);
  set_times(fd, NULL, &entry->mtime, entry->name);
}

static mode_t type_of(const struct tar_entry *entry) {
  return entry->type == TAR_SYMLINK ? S_IFLNK : entry->type == TAR_FIFO ? S_IFIFO : entry->type == TAR_CHAR ? S_IFCHR : S_IFBLK;
}

// In a directory of somebody else's, the name may lead to something else by now: only what we made gets another owner or mode.
static void set_special_owner(const struct copy_level *at, const char *file, const struct tar_entry *entry, mode_t bits) {
  struct stat is;
  char path[64];
  int fd = openat(at->fd, file, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  bool ours = fd >= 0 && fstat(fd, &is) == 0 && (is.st_mode & S_IFMT) == type_of(entry) && is.st_uid == own_uid && is.st_nlink == 1;
  bool good = ours && (!needs_owner(at, entry->uid, entry->gid) || fchownat(fd, "", entry->uid, entry->gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0);
  if (!good) copy_problem("cannot set the owner of %s: %s", entry->name, fd >= 0 && !ours ? "it was exchanged" : strerror(errno));
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  if (good && at->inherits) removexattr(path, acl_names[0]);
  if (good && bits && chmod(path, kept_mode(entry->mode)) < 0) copy_problem("cannot set the mode of %s: %s", entry->name, strerror(errno));
  if (fd >= 0) close(fd);
}

void copy_set_special(const struct copy_level *at, const char *file, const struct tar_entry *entry) {
  // Of a node's mode, what it was not made with, or what an ACL took away.
  mode_t bits = entry->type == TAR_SYMLINK ? 0 : kept_mode(entry->mode) & (owners && at->inherits ? 07777 : 07000);
  if (bits || needs_owner(at, entry->uid, entry->gid)) set_special_owner(at, file, entry, bits);
  if (has_kept_attributes(entry)) {
    char path[NAME_MAX + 64];
    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", at->fd, file);
    // A symlink has no ACL, and those of nodes are not kept.
    set_attributes(-1, path, entry, false);
  }
  set_times(at->fd, file, &entry->mtime, entry->name);
}

static void keep_acls(struct copy_level *level, const struct tar_entry *entry) {
  for (size_t i = 0; i < entry->attribute_count; i++) {
    const struct tar_attribute *attribute = &entry->attributes[i];
    if (!is_kept(attribute->name) || !is_acl(attribute->name)) continue;
    size_t which = strcmp(attribute->name, acl_names[1]) == 0;
    // A tree of 2,000 levels may not keep 250 MB of them; 500 names are enough.
    if (attribute->length > 4096) {
      tell_attribute(attribute->name, entry->name, E2BIG);
      continue;
    }
    free(level->acl[which]);
    level->acl[which] = malloc(attribute->length + 1);
    if (!level->acl[which]) copy_fail("out of memory");
    memcpy(level->acl[which], attribute->value, attribute->length);
    level->acl_length[which] = attribute->length;
  }
}

void copy_set_directory_now(struct copy_level *level, const struct tar_entry *entry) {
  level->given = true;
  level->mode = entry->mode;
  level->uid = entry->uid;
  level->gid = entry->gid;
  level->mtime = entry->mtime;
  set_attributes(level->fd, NULL, entry, false);
  keep_acls(level, entry);
}

static void set_directory_owner(const struct copy_level *level, mode_t *mode, const char *shown) {
  bool known = !level->made;
  if (!needs_owner(level, level->uid, level->gid) || (known && level->before.st_uid == level->uid && level->before.st_gid == level->gid)) return;
  if (fchown(level->fd, level->uid, level->gid) == 0) return;
  copy_problem("cannot set the owner of %s: %s", shown, strerror(errno));
  *mode &= (mode_t)~06000;
}

void copy_set_directory_at_end(struct copy_level *level, const char *shown) {
  if (!level->given) {
    if (level->made && fchmod(level->fd, 0755 | (level->before.st_mode & S_ISGID)) < 0) copy_problem("cannot set the mode of %s: %s", shown, strerror(errno));
    if (level->again) set_times(level->fd, NULL, &level->before.st_mtim, shown);
    return;
  }
  mode_t mode = kept_mode(level->mode);
  // Where owners are not the stream's business, a directory's group goes on as its parent says.
  if (!owners) mode |= level->before.st_mode & S_ISGID;
  set_directory_owner(level, &mode, shown);
  if ((level->made || mode != (level->before.st_mode & 07777)) && fchmod(level->fd, mode) < 0) copy_problem("cannot set the mode of %s: %s", shown, strerror(errno));
  for (int i = 0; i < 2; i++) {
    if (owners && level->made && level->inherits && !level->acl[i]) fremovexattr(level->fd, acl_names[i]);
    struct tar_attribute acl = {acl_names[i], level->acl[i], level->acl_length[i]};
    if (acl.value) set_attribute(level->fd, NULL, &acl, shown);
  }
  set_times(level->fd, NULL, &level->mtime, shown);
}
