// Names of users and groups. The files only, no name services: there is no libc of the guest's in this program.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

// Lines behind it are not looked at.
#define FILE_LIMIT (4u << 20)

struct account {
  uint32_t id;
  // Of two lines with one id the first counts.
  uint32_t line;
  const char *name;
  const char *home;
};

struct database {
  const char *path;
  // Fields a line has at least; the numeric ones are the third, and, of four, the fourth.
  size_t fields;
  struct stat st;
  char *text;
  struct account *accounts;
  size_t count;
};

static struct database users = {.path = "/etc/passwd", .fields = 4};
static struct database groups = {.path = "/etc/group", .fields = 3};

static bool parse_id(const char *text, uint32_t *id) {
  uint64_t n = 0;
  if (*text == 0) return false;
  for (; *text; text++) {
    if (*text < '0' || *text > '9') return false;
    n = n * 10 + (uint64_t)(*text - '0');
    if (n > UINT32_MAX) return false;
  }
  *id = (uint32_t)n;
  return true;
}

static bool parse_line(const struct database *db, char *line, struct account *account) {
  char *fields[7] = {0};
  size_t count = 0;
  uint32_t gid;
  line += strspn(line, " \t");
  // A plus or minus begins an entry for name services.
  if (*line == 0 || strchr("#+-:", *line)) return false;
  while (line && count < 7) fields[count++] = strsep(&line, ":");
  if (count < db->fields || !parse_id(fields[2], &account->id)) return false;
  if (db->fields == 4 && !parse_id(fields[3], &gid)) return false;
  account->name = fields[0];
  account->home = fields[5] ? fields[5] : "";
  return true;
}

static int by_id(const void *left, const void *right) {
  const struct account *a = left, *b = right;
  if (a->id != b->id) return a->id < b->id ? -1 : 1;
  return a->line < b->line ? -1 : a->line > b->line;
}

static void parse(struct database *db) {
  size_t lines = 1;
  for (const char *at = db->text; (at = strchr(at, '\n')); at++) lines++;
  db->accounts = calloc(lines, sizeof *db->accounts);
  if (!db->accounts) return;
  char *rest = db->text, *line;
  for (uint32_t n = 0; (line = strsep(&rest, "\n")) && db->count < lines; n++)
    if (parse_line(db, line, &db->accounts[db->count])) db->accounts[db->count++].line = n;
  qsort(db->accounts, db->count, sizeof *db->accounts, by_id);
}

// The whole file, ended by a NUL; NULL when it cannot be read.
static char *read_text(int fd) {
  struct stat st;
  // A FIFO or device in its place would keep us waiting.
  if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) return NULL;
  size_t size = st.st_size < FILE_LIMIT ? (size_t)st.st_size : FILE_LIMIT, have = 0;
  char *text = malloc(size + 1);
  if (!text) return NULL;
  ssize_t n;
  while (have < size && (n = read(fd, text + have, size - have)) > 0) have += (size_t)n;
  text[have] = 0;
  return text;
}

static bool is_unchanged(const struct stat *a, const struct stat *b) {
  return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
         a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static void refresh(struct database *db) {
  struct stat st = {0};
  if (stat(db->path, &st) < 0 || is_unchanged(&st, &db->st)) return;
  int fd = open(db->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  char *text = fd < 0 ? NULL : read_text(fd);
  if (fd >= 0) close(fd);
  if (!text) return; // what is known stays
  free(db->text);
  free(db->accounts);
  *db = (struct database){.path = db->path, .fields = db->fields, .st = st, .text = text};
  parse(db);
}

void sftp_accounts_refresh(void) {
  refresh(&users);
  refresh(&groups);
}

static const char *name_of(const struct database *db, uint32_t id) {
  size_t low = 0, high = db->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (db->accounts[middle].id < id)
      low = middle + 1;
    else
      high = middle;
  }
  return low < db->count && db->accounts[low].id == id ? db->accounts[low].name : NULL;
}

const char *sftp_user_name(uint32_t uid) { return name_of(&users, uid); }

const char *sftp_group_name(uint32_t gid) { return name_of(&groups, gid); }

const char *sftp_home_of(const char *user) {
  const struct account *found = NULL;
  for (const struct account *a = users.accounts; a && a < users.accounts + users.count; a++)
    if (strcmp(a->name, user) == 0 && (!found || a->line < found->line)) found = a;
  return found ? found->home : NULL;
}

void sftp_home_directory(struct sftp_request *r) {
  const char *user = sftp_get_text(r);
  if (r->bad) return;
  sftp_accounts_refresh();
  const char *home = sftp_home_of(user);
  if (home)
    sftp_reply_name(r->id, home);
  else
    sftp_reply_status(r->id, SFTP_FAILURE);
}

// A string of strings: the names of a string of numbers, empty where there is none.
static void put_names(struct sftp_request *ids, const struct database *db) {
  struct sftp_request sizes = *ids;
  size_t total = 0;
  const char *name;
  while (sizes.left > 0) total += 4 + ((name = name_of(db, sftp_get_u32(&sizes))) ? strlen(name) : 0);
  sftp_put_u32((uint32_t)total);
  while (ids->left > 0) sftp_put_text((name = name_of(db, sftp_get_u32(ids))) ? name : "");
}

void sftp_users_groups(struct sftp_request *r) {
  uint32_t length;
  struct sftp_request uids = {.at = sftp_get_bytes(r, &length)};
  uids.left = length;
  struct sftp_request gids = {.at = sftp_get_bytes(r, &length)};
  gids.left = length;
  if (uids.left % 4 != 0 || gids.left % 4 != 0) r->bad = true;
  if (r->bad) return;
  sftp_accounts_refresh();
  sftp_reply_begin(SFTP_EXTENDED_REPLY, r->id);
  put_names(&uids, &users);
  put_names(&gids, &groups);
  sftp_reply_end();
}
