#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "stage1.h"
#include "util.h"

// fs/ext4/ext4.h of the kernel; no C library has it.
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)
#define NEW_ROOT "/newroot"
// Growing adds inode tables that the kernel would zero in the background: 100 MiB of writes for 8 GiB, into disks that are
// sparse. The groups' checksums tell which of their inodes were never used, so nothing needs the zeroes.
#define EXT4_OPTIONS "noinit_itable"

static const char *const moved[] = {"/proc", "/sys", "/dev", "/run"};

static bool try_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data) {
  if (!make_dirs(target) && errno != EROFS) return false;
  return mount(source, target, type, flags, data) == 0 || errno == EBUSY;
}

__attribute__((noreturn)) static void give_up(const char *what) {
  problem("%s: %s; powering off", what, strerror(errno));
  sync();
  // Time for the console's line to leave through the emulated serial port.
  sleep_ms(200);
  reboot(RB_POWER_OFF);
  for (;;) pause();
}

void mount_early(void) {
  try_mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  try_mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
  if (!try_mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755")) give_up("no devtmpfs");
  log_to_kernel();
  if (!try_mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")) give_up("no tmpfs for /run");
}

static bool serial_is(const char *name, const char *serial) {
  char path[300], value[64] = {0};
  snprintf(path, sizeof path, "/sys/block/%s/serial", name);
  return read_line(path, value, sizeof value) && strcmp(value, serial) == 0;
}

static bool drive_scan(const char *serial, char *device, size_t size) {
  DIR *dir = opendir("/sys/block");
  if (!dir) return false;
  bool found = false;
  struct dirent *entry;
  while (!found && (entry = readdir(dir)))
    if (entry->d_name[0] != '.' && serial_is(entry->d_name, serial)) {
      snprintf(device, size, "/dev/%.200s", entry->d_name);
      found = access(device, F_OK) == 0;
    }
  closedir(dir);
  return found;
}

bool drive_find(const char *serial, int limit_ms, char *device, size_t size) {
  int64_t limit = now_ms() + limit_ms;
  while (!drive_scan(serial, device, size)) {
    if (now_ms() >= limit) {
      errno = ENODEV;
      return false;
    }
    sleep_ms(5);
  }
  return true;
}

void grow_ext4(const char *mount_point, const char *device) {
  uint64_t bytes = 0;
  struct statfs fs;
  int disk = open(device, O_RDONLY | O_CLOEXEC);
  int dir = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (disk >= 0 && dir >= 0 && ioctl(disk, BLKGETSIZE64, &bytes) == 0 && fstatfs(dir, &fs) == 0) {
    uint64_t blocks = bytes / (uint64_t)fs.f_bsize;
    // A file system that cannot grow still serves with the size it has.
    if (ioctl(dir, EXT4_IOC_RESIZE_FS, &blocks) < 0) say("cannot grow %s: %s", mount_point, strerror(errno));
  }
  close_fd(&disk);
  close_fd(&dir);
}

// A directory of the new root to mount on; a link there would lead out of it.
static void ensure_mount_point(const char *path) {
  struct stat st;
  if (lstat(path, &st) == 0 && !S_ISDIR(st.st_mode)) unlink(path);
  mkdir(path, 0755);
}

static void remove_tree(int dir_fd, dev_t device) {
  DIR *dir = fdopendir(dir_fd);
  if (!dir) {
    close(dir_fd);
    return;
  }
  struct dirent *entry;
  while ((entry = readdir(dir))) {
    struct stat st;
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != device) continue;
    if (!S_ISDIR(st.st_mode)) {
      unlinkat(dirfd(dir), entry->d_name, 0);
      continue;
    }
    int child = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (child >= 0) remove_tree(child, device);
    unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
  }
  closedir(dir);
}

void switch_root(void) {
  char device[256], path[64];
  // The modules have probed by now; the limit serves slow emulation.
  if (!drive_find("root", 20000, device, sizeof device)) give_up("no root drive");
  mkdir(NEW_ROOT, 0755);
  if (mount(device, NEW_ROOT, "ext4", 0, EXT4_OPTIONS) < 0) give_up("cannot mount the root drive");
  grow_ext4(NEW_ROOT, device);
  for (size_t i = 0; i < COUNT_OF(moved); i++) {
    snprintf(path, sizeof path, NEW_ROOT "%s", moved[i]);
    ensure_mount_point(path);
    if (mount(moved[i], path, NULL, MS_MOVE, NULL) < 0) give_up("cannot move a file system into the image");
  }
  // The archive's memory is the guest's again.
  struct stat st;
  int old_root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (old_root >= 0 && fstat(old_root, &st) == 0) remove_tree(old_root, st.st_dev);
  if (chdir(NEW_ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
    give_up("cannot switch to the image's root");
}

static void mount_drive(const struct mount_spec *spec) {
  char device[256], staging[] = "/run/banger/mnt";
  if (!drive_find(spec->drive, 5000, device, sizeof device)) {
    problem("no drive %s for %s", spec->drive, spec->target);
    return;
  }
  bool ext4 = strcmp(spec->fstype, "ext4") == 0;
  if (!make_dirs(staging) || mount(device, staging, spec->fstype, 0, ext4 ? EXT4_OPTIONS : NULL) < 0) {
    problem("cannot mount drive %s: %s", spec->drive, strerror(errno));
    return;
  }
  if (ext4) grow_ext4(staging, device);
  if (spec->seed && !seed_directory(spec->target, staging))
    problem("cannot copy the image's %s onto drive %s: %s", spec->target, spec->drive, strerror(errno));
  if (!make_dirs(spec->target) || mount(staging, spec->target, NULL, MS_MOVE, NULL) < 0)
    problem("cannot mount drive %s at %s: %s", spec->drive, spec->target, strerror(errno));
  rmdir(staging);
}

void mount_drives(const struct config *config) {
  for (size_t i = 0; i < config->mount_count; i++) mount_drive(&config->mounts[i]);
}

struct system_mount {
  const char *source, *target, *type;
  unsigned long flags;
  const char *data;
};

static void mount_table(const struct system_mount *table, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!try_mount(table[i].source, table[i].target, table[i].type, table[i].flags, table[i].data))
      say("cannot mount %s: %s", table[i].target, strerror(errno));
}

void mount_dev(void) {
  static const struct system_mount table[] = {
      {"devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666,gid=5"},
      {"tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"},
  };
  mount_table(table, COUNT_OF(table));
  // devtmpfs makes no links; programs expect these.
  if (symlink("/proc/self/fd", "/dev/fd") == 0) {
    bool ok = symlink("fd/0", "/dev/stdin") == 0 && symlink("fd/1", "/dev/stdout") == 0 && symlink("fd/2", "/dev/stderr") == 0;
    if (!ok) say("cannot make links in /dev: %s", strerror(errno));
  }
}

void mount_system(void) {
  static const struct system_mount table[] = {
      {"mqueue", "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL},
      {"cgroup2", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, "nsdelegate"},
  };
  mount_dev();
  mount_table(table, COUNT_OF(table));
  make_dirs("/run/lock");
  make_dirs("/tmp");
  chmod("/tmp", 01777);
}
