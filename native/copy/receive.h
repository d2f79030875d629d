// `copy receive`: what each part of it does for the others.
#ifndef BANGER_COPY_RECEIVE_H
#define BANGER_COPY_RECEIVE_H
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "tar.h"

struct copy_receive_options {
  const char *destination;
  // What the stream's tree is called below a destination that is a directory, whatever its own name; or NULL.
  const char *name;
  enum { COPY_AUTO, COPY_INTO, COPY_AS } how;
  bool owners;
  bool devices;
  bool sync;
};

int copy_receive(const struct copy_receive_options *options);

// destination.c: what DEST is, and so where names of the stream lead.

// A name below the root directory, with the destination's own in front.
#define COPY_PATH (TAR_NAME + NAME_MAX + 2)
// Opens the directory that everything happens below.
int copy_destination_open(const struct copy_receive_options *options);
// The path below the root that the stream's name stands for, "" for the root. False: told. What may not be in a stream at all ends the program.
bool copy_destination_map(const char *name, char *path);
// To be called with every entry before anything else: the first decides what "as" means.
void copy_destination_check(const struct tar_entry *entry);
// DEST becomes the stream's single top entry, so nothing is put in place before the end.
bool copy_destination_holds(void);
// The root's own mode and times are the stream's business.
bool copy_destination_owns_root(void);
// The name DEST shall have below the root, made even by an empty stream; or NULL.
const char *copy_destination_made(void);

// place.c: the open directories from the root to where the stream is.
struct copy_level {
  int fd;
  dev_t device;
  ino_t inode;
  // Where its name begins and ends in the current path.
  size_t start, end;
  // Made by this run: nobody knows it yet.
  bool made;
  // What is made in it has exactly the mode that was asked for, and our owner.
  bool plain;
  // What is made in it gets an ACL from it.
  bool inherits;
  // The stream has an entry for it, to be applied when it is left.
  bool given;
  // Made by this run, left and entered again.
  bool again;
  struct stat before;
  uint32_t mode, uid, gid;
  struct timespec mtime;
  uint8_t *acl[2];
  size_t acl_length[2];
};
void copy_place_open(int root);
// Goes to the directory of that path; what is missing on the way is made. False: told about `name`.
struct copy_level *copy_place_enter(const char *path, size_t length, const char *name);
// An open directory on the way to a link's target (O_PATH; the caller closes it) or -1 with errno. Never makes one, never leaves the root.
int copy_place_find(const char *path, size_t length);
void copy_place_close(void);
bool copy_place_is_root(const struct copy_level *level);
void copy_place_undo(void);
// One more entry was made: below what has no name yet, or in place.
void copy_place_count(void);
uint64_t copy_place_counted(void);

// land.c: new things get a temporary name, then their own.
void copy_temporary_name(char out[32]);
typedef int copy_maker(int directory, const char *name, const void *with);
// What `make` answered (a file descriptor or 0), or -1 with errno.
int copy_land_begin(const struct copy_level *at, const char *name, copy_maker *make, const void *with);
// What was begun is a further name of a file.
void copy_land_is_link(void);
// The name that it has for now.
const char *copy_land_name(void);
// It has its own name now, or is kept back until copy_land_held.
bool copy_land(bool hold);
void copy_land_held(void);
void copy_land_abandon(void);

// attributes.c
void copy_attributes_open(const struct copy_receive_options *options);
bool copy_keeps_owners(void);
// The mode a new file may be made with so that copy_set_file has least to do.
mode_t copy_first_mode(const struct copy_level *at, const struct tar_entry *entry);
void copy_set_file(int fd, const struct copy_level *at, const struct tar_entry *entry);
// Symlinks and nodes, by the name they have for now.
void copy_set_special(const struct copy_level *at, const char *file, const struct tar_entry *entry);
// At once: what does not hinder writing into it. The rest is remembered in the level.
void copy_set_directory_now(struct copy_level *level, const struct tar_entry *entry);
void copy_set_directory_at_end(struct copy_level *level, const char *name);

// nodes.c: makes one entry that is no directory. What it leaves of the contents is *left.
void copy_make(struct copy_level *at, const char *file, const struct tar_entry *entry, uint64_t *left);
void copy_make_open(const struct copy_receive_options *options);
// Errors after which nothing else would work either.
void copy_give_up_on(int error, const char *name);

// contents.c: writes them into the new file. False with errno: it takes no more; *left is what of them is still in the stream.
bool copy_contents(int fd, const struct tar_entry *entry, uint64_t *left);

// remove.c: a tree of ours, without recursion. False: some of it is left.
bool copy_remove_tree(int directory, const char *name);
#endif
