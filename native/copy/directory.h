// Entries of a directory as the kernel gives them (getdents64(2)): read without the buffer that opendir makes for each.
#ifndef BANGER_COPY_DIRECTORY_H
#define BANGER_COPY_DIRECTORY_H
#include <stdint.h>

struct copy_record {
  uint64_t inode;
  int64_t next;
  unsigned short length;
  unsigned char type;
  char name[];
};

static inline struct copy_record *copy_record_at(char *at) { return (struct copy_record *)(void *)at; }
#endif
