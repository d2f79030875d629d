#define _GNU_SOURCE
#include "passwd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

#define FILE_LIMIT (4 << 20)
#define NO_ID ((unsigned)-1)

static bool parse_id(const char *text, unsigned *id) {
  char *end;
  if (*text < '0' || *text > '9') return false;
  unsigned long n = strtoul(text, &end, 10);
  if (*end != 0 || n >= NO_ID) return false;
  *id = (unsigned)n;
  return true;
}

static size_t split(char *line, char **fields, size_t max) {
  size_t count = 0;
  while (line && count < max) fields[count++] = strsep(&line, ":");
  return count;
}

static void set_text(char *to, size_t size, const char *from) { snprintf(to, size, "%s", from); }

static bool take_passwd_line(struct account *a, char *line, const char *name, unsigned id) {
  char *f[7];
  unsigned uid, gid;
  if (split(line, f, 7) != 7 || !parse_id(f[2], &uid) || !parse_id(f[3], &gid)) return false;
  if (strcmp(f[0], name) != 0 && uid != id) return false;
  set_text(a->name, sizeof a->name, f[0]);
  set_text(a->home, sizeof a->home, f[5]);
  set_text(a->shell, sizeof a->shell, f[6]);
  a->uid = uid;
  a->gid = gid;
  return true;
}

static bool find_passwd(struct account *a, const char *name) {
  unsigned id = NO_ID;
  bool numeric = parse_id(name, &id), found = false;
  char *text = read_file("/etc/passwd", FILE_LIMIT, NULL), *rest = text, *line;
  while (!found && (line = strsep(&rest, "\n"))) found = take_passwd_line(a, line, name, id);
  free(text);
  if (found) return true;
  if (!numeric && strcmp(name, "root") != 0) return false;
  set_text(a->name, sizeof a->name, name);
  set_text(a->home, sizeof a->home, numeric && id != 0 ? "/" : "/root");
  a->uid = numeric ? id : 0;
  a->gid = 0;
  return true;
}

static bool lists_member(char *members, const char *name) {
  char *member;
  while ((member = strsep(&members, ",")))
    if (strcmp(member, name) == 0) return true;
  return false;
}

static bool find_group(const char *name, gid_t *gid) {
  unsigned id;
  bool found = false;
  char *text = read_file("/etc/group", FILE_LIMIT, NULL), *rest = text, *line, *f[4];
  while (!found && (line = strsep(&rest, "\n")))
    if (split(line, f, 4) >= 3 && strcmp(f[0], name) == 0 && parse_id(f[2], &id)) {
      *gid = id;
      found = true;
    }
  free(text);
  if (!found && parse_id(name, &id)) {
    *gid = id;
    found = true;
  }
  return found;
}

static void add_memberships(struct account *a) {
  char *text = read_file("/etc/group", FILE_LIMIT, NULL), *rest = text, *line, *f[4];
  unsigned gid;
  while (a->group_count < MAX_GROUPS && (line = strsep(&rest, "\n")))
    if (split(line, f, 4) == 4 && parse_id(f[2], &gid) && gid != a->gid && lists_member(f[3], a->name))
      a->groups[a->group_count++] = gid;
  free(text);
}

bool account_find(struct account *account, const char *spec, const char **error) {
  char name[64], self[16] = "root";
  *account = (struct account){0};
  if (!spec) {
    if (geteuid() != 0) snprintf(self, sizeof self, "%u", (unsigned)geteuid());
    spec = self;
  }
  const char *colon = strchr(spec, ':');
  size_t length = colon ? (size_t)(colon - spec) : strlen(spec);
  if (length == 0 || length >= sizeof name) {
    *error = "no such user in the guest";
    return false;
  }
  memcpy(name, spec, length);
  name[length] = 0;
  if (!find_passwd(account, name)) {
    *error = "no such user in the guest";
    return false;
  }
  if (colon && !find_group(colon + 1, &account->gid)) {
    *error = "no such group in the guest";
    return false;
  }
  account->groups[account->group_count++] = account->gid;
  // A group that is named stands alone, as with container tools.
  if (!colon) add_memberships(account);
  if (account->home[0] == 0) strcpy(account->home, "/");
  if (account->shell[0] == 0 || access(account->shell, X_OK) != 0) strcpy(account->shell, "/bin/sh");
  return true;
}
