// OpenSSH's extensions (its file PROTOCOL, section 4).
#define _GNU_SOURCE
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "internal.h"

static void reply_limits(struct sftp_request *r) {
  sftp_reply_begin(SFTP_EXTENDED_REPLY, r->id);
  sftp_put_u64(SFTP_PACKET_MAX);
  sftp_put_u64(SFTP_DATA_MAX);
  sftp_put_u64(SFTP_DATA_MAX);
  sftp_put_u64(sftp_handles_limit());
  sftp_reply_end();
}

// From statfs itself: musl's statvfs keeps half of the file system's id.
static void reply_statvfs(uint32_t id, int result, const struct statfs *fs) {
  // The kernel's and the protocol's numbers for read-only and nosuid are the same.
  const uint64_t flags = 1 | 2;
  if (result < 0) {
    sftp_reply_result(id, result);
    return;
  }
  uint32_t fsid[2];
  memcpy(fsid, &fs->f_fsid, sizeof fsid);
  sftp_reply_begin(SFTP_EXTENDED_REPLY, id);
  sftp_put_u64((uint64_t)fs->f_bsize);
  sftp_put_u64((uint64_t)(fs->f_frsize ? fs->f_frsize : fs->f_bsize));
  sftp_put_u64(fs->f_blocks);
  sftp_put_u64(fs->f_bfree);
  sftp_put_u64(fs->f_bavail);
  sftp_put_u64(fs->f_files);
  sftp_put_u64(fs->f_ffree);
  sftp_put_u64(fs->f_ffree); // for others than root; the kernel does not tell them apart
  sftp_put_u64((uint64_t)fsid[1] << 32 | fsid[0]);
  sftp_put_u64((uint64_t)fs->f_flags & flags);
  sftp_put_u64((uint64_t)fs->f_namelen);
  sftp_reply_end();
}

static void reply_statvfs_of_path(struct sftp_request *r) {
  struct statfs fs;
  const char *path = sftp_get_text(r);
  if (!r->bad) reply_statvfs(r->id, statfs(path, &fs), &fs);
}

static void reply_statvfs_of_file(struct sftp_request *r) {
  struct statfs fs;
  const struct sftp_handle *file = sftp_get_file(r);
  if (r->bad) return;
  if (file)
    reply_statvfs(r->id, fstatfs(file->fd, &fs), &fs);
  else
    sftp_reply_status(r->id, SFTP_FAILURE);
}

static void sync_file(struct sftp_request *r) {
  const struct sftp_handle *file = sftp_get_file(r);
  if (r->bad) return;
  if (file)
    sftp_reply_result(r->id, fsync(file->fd));
  else
    sftp_reply_status(r->id, SFTP_NO_SUCH_FILE);
}

static const struct {
  const char *name, *version;
  void (*serve)(struct sftp_request *);
} extensions[] = {
    {"posix-rename@openssh.com", "1", sftp_posix_rename},
    {"statvfs@openssh.com", "2", reply_statvfs_of_path},
    {"fstatvfs@openssh.com", "2", reply_statvfs_of_file},
    {"hardlink@openssh.com", "1", sftp_hardlink},
    {"fsync@openssh.com", "1", sync_file},
    {"lsetstat@openssh.com", "1", sftp_lsetstat},
    {"limits@openssh.com", "1", reply_limits},
    {"expand-path@openssh.com", "1", sftp_expand_path},
    {"copy-data", "1", sftp_copy_data},
    {"home-directory", "1", sftp_home_directory},
    {"users-groups-by-id@openssh.com", "1", sftp_users_groups},
};

void sftp_put_extensions(void) {
  for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++) {
    sftp_put_text(extensions[i].name);
    sftp_put_text(extensions[i].version);
  }
}

void sftp_extended(struct sftp_request *r) {
  const char *name = sftp_get_text(r);
  if (r->bad) return;
  for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++)
    if (strcmp(name, extensions[i].name) == 0) {
      extensions[i].serve(r);
      return;
    }
  sftp_reply_status(r->id, SFTP_OP_UNSUPPORTED);
}
