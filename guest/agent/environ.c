#define _GNU_SOURCE
#include "environ.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct list {
  char **entries;
  size_t count, size;
};

static bool put_entry(struct list *list, const char *entry) {
  const char *equals = strchr(entry, '=');
  size_t name = equals ? (size_t)(equals - entry) + 1 : 0;
  if (name == 0) return true;
  char *copy = strdup(entry);
  if (!copy) return false;
  for (size_t i = 0; i < list->count; i++)
    if (strncmp(list->entries[i], entry, name) == 0) {
      free(list->entries[i]);
      list->entries[i] = copy;
      return true;
    }
  list->entries[list->count++] = copy;
  return true;
}

static bool put_pair(struct list *list, const char *name, const char *value) {
  char entry[512];
  snprintf(entry, sizeof entry, "%s=%s", name, value);
  return put_entry(list, entry);
}

char **environ_build(const struct exec_request *r, const struct config *config, const struct account *account) {
  struct list list = {.size = 8 + config->env_count + r->env_count};
  list.entries = calloc(list.size, sizeof *list.entries);
  if (!list.entries) return NULL;
  bool ok = put_pair(&list, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  for (size_t i = 0; i < config->env_count; i++) ok = ok && put_entry(&list, config->env[i]);
  ok = ok && put_pair(&list, "HOME", account->home) && put_pair(&list, "USER", account->name) &&
       put_pair(&list, "LOGNAME", account->name) && put_pair(&list, "SHELL", account->shell);
  if (r->tty) ok = ok && put_pair(&list, "TERM", r->term[0] ? r->term : "linux");
  for (size_t i = 0; i < r->env_count; i++) ok = ok && put_entry(&list, r->env[i]);
  if (ok) return list.entries;
  environ_free(list.entries);
  return NULL;
}

void environ_free(char **env) {
  for (char **at = env; *at; at++) free(*at);
  free(env);
}
