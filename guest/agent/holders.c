// Which process holds a socket: the links of /proc/<pid>/fd name inodes.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sockets.h"
#include "util.h"

// So many are looked at; what is not found by then has no name.
#define MAX_LINKS 20000

struct search {
  struct socket_set *set;
  const char *proc;
  // Rows by inode.
  uint16_t order[MAX_SOCKETS];
  size_t links, missing;
  struct stat self;
};

static struct search search;
// Processes that had no descriptors, as the kernel's own: they are looked at last.
struct pids {
  uint8_t bits[32768 / 8];
};
static struct pids empty;

static bool has(const struct pids *pids, pid_t pid) { return (size_t)pid < sizeof pids->bits * 8 && pids->bits[pid / 8] >> pid % 8 & 1; }

static void set_empty(pid_t pid, bool is) {
  if (pid < 0 || (size_t)pid >= sizeof empty.bits * 8) return;
  uint8_t bit = (uint8_t)(1 << pid % 8), *at = &empty.bits[pid / 8];
  *at = (uint8_t)(is ? *at | bit : *at & ~bit);
}

static int by_inode(const void *a, const void *b) {
  uint64_t x = search.set->rows[*(const uint16_t *)a].inode, y = search.set->rows[*(const uint16_t *)b].inode;
  return x < y ? -1 : x > y;
}

static struct socket_row *row_of(uint64_t inode) {
  size_t from = 0, to = search.set->count;
  while (from < to) {
    size_t middle = (from + to) / 2;
    struct socket_row *row = &search.set->rows[search.order[middle]];
    if (row->inode == inode) return row;
    if (row->inode < inode)
      from = middle + 1;
    else
      to = middle;
  }
  return NULL;
}

// Node calls the thread that a program begins with by a name of its own.
static void name_of(pid_t pid, char name[HOLDER_NAME]) {
  char path[PATH_MAX], target[PATH_MAX];
  name[0] = 0;
  snprintf(path, sizeof path, "%s/%d/comm", search.proc, (int)pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, name, HOLDER_NAME - 1);
  close_fd(&fd);
  if (n > 0 && name[n - 1] == '\n') n--;
  name[n > 0 ? n : 0] = 0;
  if (strcmp(name, "MainThread") != 0) return;
  snprintf(path, sizeof path, "%s/%d/exe", search.proc, (int)pid);
  n = readlink(path, target, sizeof target - 1);
  target[n > 0 ? n : 0] = 0;
  const char *slash = strrchr(target, '/');
  if (slash && slash[1]) snprintf(name, HOLDER_NAME, "%.*s", HOLDER_NAME - 1, slash + 1);
}

static bool is_agent(pid_t pid) {
  char path[PATH_MAX];
  struct stat is;
  snprintf(path, sizeof path, "%s/%d/exe", search.proc, (int)pid);
  return stat(path, &is) == 0 && is.st_dev == search.self.st_dev && is.st_ino == search.self.st_ino;
}

// An init that made the socket for somebody holds it too; whoever else does is told.
static void hold(struct socket_row *row, pid_t pid) {
  if (row->settled) return;
  row->pid = pid;
  row->own = is_agent(pid);
  row->settled = pid > 1 || row->own;
  if (row->settled) search.missing--;
  name_of(pid, row->name);
}

static void search_process(pid_t pid) {
  char path[PATH_MAX], target[64];
  struct dirent *entry;
  size_t before = search.links;
  snprintf(path, sizeof path, "%s/%d/fd", search.proc, (int)pid);
  DIR *dir = opendir(path);
  while (dir && search.links < MAX_LINKS && search.missing > 0 && (entry = readdir(dir))) {
    if (entry->d_name[0] == '.') continue;
    search.links++;
    ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);
    target[n > 0 ? n : 0] = 0;
    if (strncmp(target, "socket:[", 8) != 0) continue;
    struct socket_row *row = row_of(strtoull(target + 8, NULL, 10));
    if (row) hold(row, pid);
  }
  if (dir) closedir(dir);
  set_empty(pid, before == search.links);
}

static void search_all(const struct pids *were_empty, bool these) {
  struct dirent *entry;
  DIR *dir = opendir(search.proc);
  while (dir && search.links < MAX_LINKS && search.missing > 0 && (entry = readdir(dir))) {
    pid_t pid = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' ? (pid_t)strtol(entry->d_name, NULL, 10) : 0;
    if (pid > 0 && has(were_empty, pid) == these) search_process(pid);
  }
  if (dir) closedir(dir);
}

bool holders_agent(struct socket_set *set, const char *proc) {
  char path[PATH_MAX];
  search.set = set;
  search.proc = proc;
  search.links = search.missing = 0;
  for (size_t i = 0; i < set->count; i++) {
    if (!set->rows[i].settled) search.missing++;
    search.order[i] = (uint16_t)i;
  }
  if (search.missing == 0) return false;
  qsort(search.order, set->count, sizeof *search.order, by_inode);
  snprintf(path, sizeof path, "%s/self/exe", proc);
  if (stat(path, &search.self) < 0) search.self = (struct stat){0};
  search_process(getppid());
  return search.missing > 0;
}

void holders_find(void) {
  struct pids were_empty = empty;
  search_all(&were_empty, false);
  // What had none may have some by now.
  search_all(&were_empty, true);
}

void holders_keep(struct socket_set *set, const struct socket_set *before) {
  for (size_t i = 0, j = 0; i < set->count; i++) {
    struct socket_row *row = &set->rows[i];
    while (j < before->count && memcmp(before->rows[j].key, row->key, sizeof row->key) < 0) j++;
    if (j == before->count) return;
    const struct socket_row *known = &before->rows[j];
    if (memcmp(known->key, row->key, sizeof row->key) != 0 || known->inode != row->inode || known->pid <= 0) continue;
    if (kill(known->pid, 0) < 0 && errno == ESRCH) continue;
    row->pid = known->pid;
    row->own = known->own;
    row->settled = true;
    memcpy(row->name, known->name, sizeof row->name);
  }
}
