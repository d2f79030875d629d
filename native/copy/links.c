// Files of several names that were sent under one of them.
#define _GNU_SOURCE
#include "report.h"
#include "send.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 65536
// A tree of millions of half-sent links takes no more than this.
#define BYTES (64 << 20)

struct link {
  struct link *next;
  dev_t device;
  ino_t inode;
  // Names that are still to come; the file may have some outside of what is sent.
  nlink_t left;
  char name[];
};

static struct link *buckets[BUCKETS];
static size_t bytes;

static struct link **bucket(const struct stat *file) {
  uint64_t hash = ((uint64_t)file->st_ino ^ (uint64_t)file->st_dev << 32) * 0x9e3779b97f4a7c15u;
  return &buckets[hash >> 48];
}

static size_t size_of(const struct link *link) { return sizeof *link + strlen(link->name) + 1; }

const char *copy_links_find(const struct stat *file) {
  static char name[TAR_NAME + 1];
  if (file->st_nlink < 2) return NULL;
  for (struct link **at = bucket(file); *at; at = &(*at)->next) {
    struct link *link = *at;
    if (link->inode != file->st_ino || link->device != file->st_dev) continue;
    strcpy(name, link->name);
    if (--link->left == 0) {
      *at = link->next;
      bytes -= size_of(link);
      free(link);
    }
    return name;
  }
  return NULL;
}

void copy_links_add(const struct stat *file, const char *name) {
  static bool told;
  if (file->st_nlink < 2) return;
  size_t length = strlen(name) + 1;
  struct link *link = bytes > BYTES ? NULL : malloc(sizeof *link + length);
  if (!link) {
    if (!told) copy_note("too many hard links at once: some are copied as files of their own");
    told = true;
    return;
  }
  struct link **at = bucket(file);
  *link = (struct link){.next = *at, .device = file->st_dev, .inode = file->st_ino, .left = file->st_nlink - 1};
  memcpy(link->name, name, length);
  *at = link;
  bytes += size_of(link);
}
