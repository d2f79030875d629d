// Accounts straight from the files: the C library's name services cannot work in a static program.
#ifndef BANGER_PASSWD_H
#define BANGER_PASSWD_H
#include <stdbool.h>
#include <sys/types.h>

#define MAX_GROUPS 64

struct account {
  char name[64], home[256], shell[256];
  uid_t uid;
  gid_t gid;
  gid_t groups[MAX_GROUPS];
  int group_count;
};

// `spec` is a name or number, with `:group` (name or number) as container tools take it. A number need not be in the file.
// root exists even in an image without the file. NULL: root, or whom the agent runs as where it has no right to change that (its own
// tests). On failure `*error` is a sentence.
bool account_find(struct account *account, const char *spec, const char **error);
#endif
