// Which commands are kept, and which have to go.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "keep.h"
#include "passwd.h"
#include "util.h"

// More than anybody keeps: a user who makes more directories gets no answer about them.
#define MAX_ENTRIES 1024
// A directory without a state is one that is being made, or a failed start's.
#define BIRTH_SECONDS 60

struct entry {
  char id[KEEP_ID_MAX + 1];
  uid_t uid;
  uint64_t size;
  enum keep_status status;
  struct keep_state state;
};

static uint64_t size_of(int dir) {
  uint64_t size = 0;
  int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *files = fd >= 0 ? fdopendir(fd) : NULL;
  if (!files) {
    close_fd(&fd);
    return 0;
  }
  struct stat st;
  for (struct dirent *file; (file = readdir(files));)
    if (fstatat(dir, file->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode)) size += (uint64_t)st.st_blocks * 512;
  closedir(files);
  return size;
}

static bool read_entry(int base, const char *id, struct entry *entry) {
  struct stat st;
  if (!keep_is_id(id)) return false;
  int dir = keep_open(base, id);
  if (dir < 0) return false;
  bool ok = fstat(dir, &st) == 0;
  strcpy(entry->id, id);
  entry->uid = st.st_uid;
  if (ok && keep_state_read(dir, &entry->state)) {
    entry->status = keep_status(dir, &entry->state);
  } else {
    ok = ok && (uint64_t)st.st_mtime + BIRTH_SECONDS < keep_now() / 1000;
    entry->status = KEEP_LOST;
  }
  entry->size = ok ? size_of(dir) : 0;
  close(dir);
  return ok;
}

static int by_start(const void *a, const void *b) {
  const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
  if (x->state.started != y->state.started) return x->state.started < y->state.started ? -1 : 1;
  return strcmp(x->id, y->id);
}

// What has no end comes first: lost commands are of no use to anybody.
static int by_end(const void *a, const void *b) {
  const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
  if (x->state.ended != y->state.ended) return x->state.ended < y->state.ended ? -1 : 1;
  return by_start(a, b);
}

// Oldest first; the caller frees each and the list.
static struct entry **read_entries(int base, size_t *count) {
  struct entry **list = calloc(MAX_ENTRIES, sizeof *list);
  int fd = openat(base, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *dir = list && fd >= 0 ? fdopendir(fd) : NULL;
  *count = 0;
  if (!dir) {
    close_fd(&fd);
    free(list);
    return NULL;
  }
  struct dirent *found;
  while (*count < MAX_ENTRIES && (found = readdir(dir))) {
    struct entry *entry = malloc(sizeof *entry);
    if (!entry) break;
    *entry = (struct entry){0};
    if (read_entry(base, found->d_name, entry))
      list[(*count)++] = entry;
    else
      free(entry);
  }
  closedir(dir);
  qsort(list, *count, sizeof *list, by_start);
  return list;
}

static void free_entries(struct entry **list, size_t count) {
  for (size_t i = 0; i < count; i++) free(list[i]);
  free(list);
}

static const char *name_of(struct account *account, uid_t uid) {
  char number[16];
  const char *error;
  snprintf(number, sizeof number, "%u", (unsigned)uid);
  if (!account_find(account, number, &error)) strcpy(account->name, number);
  return account->name;
}

static void print_entry(const struct entry *entry) {
  static const char *const names[] = {[KEEP_RUNNING] = "running", [KEEP_OVER] = "ended", [KEEP_LOST] = "lost"};
  static struct account account;
  const struct keep_state *s = &entry->state;
  printf("%s %s %d %llu %llu %u %u %llu %llu %s", entry->id, names[entry->status], (int)s->pid, (unsigned long long)s->started,
      (unsigned long long)s->ended, s->code, s->signal, (unsigned long long)s->bytes, (unsigned long long)s->dropped,
      name_of(&account, entry->uid));
  if (s->command[0]) printf(" %s", s->command);
  printf("\n");
}

int keep_list(int base) {
  size_t count;
  struct entry **list = read_entries(base, &count);
  if (!list) return 125;
  for (size_t i = 0; i < count; i++) print_entry(list[i]);
  free_entries(list, count);
  return fflush(stdout) == 0 ? 0 : 1;
}

static uint64_t allowance(int base) {
  struct statvfs fs;
  if (fstatvfs(base, &fs) < 0) return UINT64_MAX;
  return (uint64_t)fs.f_blocks * fs.f_frsize / KEEP_SHARE;
}

void keep_prune(int base) {
  size_t count, ended = 0;
  uint64_t size = 0, allowed = allowance(base);
  uid_t self = geteuid();
  struct entry **list = read_entries(base, &count);
  if (!list) return;
  qsort(list, count, sizeof *list, by_end);
  for (size_t i = 0; i < count; i++)
    if (list[i]->status != KEEP_RUNNING && (self == 0 || list[i]->uid == self)) {
      ended++;
      size += list[i]->size;
    }
  // The one that ended last stays, however big: somebody may be about to read it.
  for (size_t i = 0; i < count && ended > 1 && (ended > KEEP_ENDED || size > allowed); i++) {
    if (list[i]->status == KEEP_RUNNING || (self != 0 && list[i]->uid != self)) continue;
    keep_remove(base, list[i]->id);
    ended--;
    size -= list[i]->size;
  }
  free_entries(list, count);
}
