#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

// OpenSSH's, which differs from the kernel's 40.
#define LINKS_MAX 33

// What is resolved so far (absolute, without links), and what is still to be walked.
struct walk {
  char *resolved;
  size_t length;
  char left[PATH_MAX];
  const char *at;
  int links;
};

static int fail(int error) {
  errno = error;
  return -1;
}

static bool append(struct walk *w, const char *bytes, size_t length) {
  if (w->length + length >= PATH_MAX) return false;
  memcpy(w->resolved + w->length, bytes, length);
  w->length += length;
  w->resolved[w->length] = 0;
  return true;
}

// Goes from `/a/b` or `/a/b/` to `/a/`.
static void drop_last(struct walk *w) {
  if (w->length > 1 && w->resolved[w->length - 1] == '/') w->length--;
  while (w->length > 1 && w->resolved[w->length - 1] != '/') w->length--;
  w->resolved[w->length] = 0;
}

// Puts the link's target in front of what is left.
static int enter_link(struct walk *w) {
  char target[PATH_MAX];
  if (++w->links > LINKS_MAX) return fail(ELOOP);
  ssize_t length = readlink(w->resolved, target, sizeof target - 1);
  if (length < 0) return -1;
  size_t rest = strlen(w->at);
  // What was after the link begins with its slash.
  if ((size_t)length + rest >= sizeof w->left) return fail(ENAMETOOLONG);
  if (length > 0 && target[0] == '/') {
    w->length = 1;
    w->resolved[1] = 0;
  } else {
    drop_last(w);
  }
  memmove(w->left + length, w->at, rest + 1);
  memcpy(w->left, target, (size_t)length);
  w->at = w->left;
  return 0;
}

// One component. 1: the last one does not exist, which is all right.
static int walk_into(struct walk *w, const char *name, size_t length) {
  struct stat st;
  if (!append(w, name, length)) return fail(ENAMETOOLONG);
  if (lstat(w->resolved, &st) < 0) return errno == ENOENT && *w->at == 0 ? 1 : -1;
  return S_ISLNK(st.st_mode) ? enter_link(w) : 0;
}

static int walk_all(struct walk *w) {
  while (*w->at) {
    const char *name = w->at;
    size_t length = strcspn(name, "/");
    if (w->resolved[w->length - 1] != '/' && !append(w, "/", 1)) return fail(ENAMETOOLONG);
    w->at += length;
    if (length == 0) {
      w->at++;
    } else if (length == 2 && memcmp(name, "..", 2) == 0) {
      drop_last(w);
    } else if (length != 1 || *name != '.') {
      int result = walk_into(w, name, length);
      if (result != 0) return result;
    }
  }
  return 0;
}

int sftp_resolve(const char *path, char resolved[PATH_MAX]) {
  static struct walk walk;
  size_t length = strlen(path);
  if (length == 0) return fail(ENOENT);
  bool absolute = *path == '/';
  if (length - absolute >= sizeof walk.left) return fail(ENAMETOOLONG);
  if (absolute)
    strcpy(resolved, "/");
  else if (!getcwd(resolved, PATH_MAX))
    return -1;
  walk.resolved = resolved;
  walk.length = strlen(resolved);
  memcpy(walk.left, path + absolute, length - absolute + 1);
  walk.at = walk.left;
  walk.links = 0;
  int result = walk_all(&walk);
  if (result < 0) return -1;
  if (result == 0 && walk.length > 1 && resolved[walk.length - 1] == '/') resolved[walk.length - 1] = 0;
  return 0;
}

static void reply_resolved(uint32_t id, const char *path) {
  char resolved[PATH_MAX];
  if (sftp_resolve(path, resolved) < 0)
    sftp_reply_result(id, -1);
  else
    sftp_reply_name(id, resolved);
}

void sftp_realpath(struct sftp_request *r) {
  const char *path = sftp_get_text(r);
  if (!r->bad) reply_resolved(r->id, *path ? path : ".");
}

// `~user` and what follows; false: no such user.
static bool expand_user(const char *path, char *expanded, size_t size) {
  char user[256];
  size_t length = strcspn(path + 1, "/");
  if (length >= sizeof user) return false;
  memcpy(user, path + 1, length);
  user[length] = 0;
  sftp_accounts_refresh();
  const char *home = sftp_home_of(user), *rest = path + 1 + length;
  if (!home) return false;
  size_t end = strlen(home);
  const char *slash = end > 0 && home[end - 1] == '/' ? "" : "/";
  return (size_t)snprintf(expanded, size, "%s%s%s", home, slash, rest + strspn(rest, "/")) < size;
}

void sftp_expand_path(struct sftp_request *r) {
  char cwd[PATH_MAX];
  static char expanded[2 * PATH_MAX];
  const char *path = sftp_get_text(r);
  if (r->bad) return;
  if (!getcwd(cwd, sizeof cwd)) {
    sftp_reply_result(r->id, -1);
    return;
  }
  bool home = path[0] == '~' && (path[1] == 0 || path[1] == '/'), fits = true;
  if (*path == 0 || strcmp(path, "~") == 0) {
    path = cwd;
  } else if (*path == '~' && !home) {
    if (!expand_user(path, expanded, sizeof expanded)) {
      sftp_reply_status_text(r->id, SFTP_NO_SUCH_FILE, "no such user");
      return;
    }
    path = expanded;
  } else if (*path != '/') {
    fits = (size_t)snprintf(expanded, sizeof expanded, "%s/%s", cwd, home ? path + 2 : path) < sizeof expanded;
    path = expanded;
  }
  if (fits) {
    reply_resolved(r->id, path);
  } else {
    errno = ENAMETOOLONG;
    sftp_reply_result(r->id, -1);
  }
}
