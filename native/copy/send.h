// `copy send`: walks the trees and writes their entries.
#ifndef BANGER_COPY_SEND_H
#define BANGER_COPY_SEND_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "tar.h"

struct copy_send_options {
  const char *base;
  bool contents;
  // A file of paths below the directories `paths`, or NULL.
  const char *list;
  char **paths;
  int path_count;
};

int copy_send(const struct copy_send_options *options);

// Below: the parts of it.

// Opens and checks the list and the directories; what is wrong with them ends the program.
void copy_list_open(const struct copy_send_options *options);
void copy_list_send(void);

// The name under which the stream already has this file, or NULL.
const char *copy_links_find(const struct stat *file);
// Remembers a file of several names until all of them were seen.
void copy_links_add(const struct stat *file, const char *name);

// Attributes that belong into the stream, read from `fd`, or if that is negative from `path` without following a symlink. `shown` is for messages.
void copy_send_attributes(int fd, const char *path, const char *shown, struct tar_entry *entry);

// Header and contents of an open regular file.
void copy_send_file(int fd, const struct stat *file, struct tar_entry *entry, const char *shown);
#endif
