#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "internal.h"

#define HALF_A_YEAR (365 * 24 * 60 * 60 / 2)

static char type_letter(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return '-';
    case S_IFDIR:
      return 'd';
    case S_IFLNK:
      return 'l';
    case S_IFCHR:
      return 'c';
    case S_IFBLK:
      return 'b';
    case S_IFIFO:
      return 'p';
    case S_IFSOCK:
      return 's';
    default:
      return '?';
  }
}

// `special`: the letter for a set bit (setuid, setgid, sticky) that shares the place of `x`.
static char execute_letter(bool executable, char special) {
  if (special) return executable ? special : (char)(special - 'a' + 'A');
  return executable ? 'x' : '-';
}

static void mode_letters(char out[11], mode_t mode) {
  out[0] = type_letter(mode);
  for (int i = 0; i < 3; i++) {
    mode_t bits = mode >> (6 - 3 * i);
    out[1 + 3 * i] = bits & 4 ? 'r' : '-';
    out[2 + 3 * i] = bits & 2 ? 'w' : '-';
  }
  out[3] = execute_letter(mode & S_IXUSR, mode & S_ISUID ? 's' : 0);
  out[6] = execute_letter(mode & S_IXGRP, mode & S_ISGID ? 's' : 0);
  out[9] = execute_letter(mode & S_IXOTH, mode & S_ISVTX ? 't' : 0);
  out[10] = 0;
}

static void time_text(char out[13], time_t changed) {
  time_t now = time(NULL);
  const struct tm *local = localtime(&changed);
  bool recent = now - HALF_A_YEAR < changed && changed <= now;
  if (!local || strftime(out, 13, recent ? "%b %e %H:%M" : "%b %e  %Y", local) == 0) out[0] = 0;
}

// The account's name, or its number, which is written to `number`.
static const char *name_or_number(const char *name, uint32_t id, char number[11]) {
  if (name) return name;
  snprintf(number, 11, "%u", id);
  return number;
}

void sftp_long_name(char out[SFTP_LONG_NAME], const char *name, const struct stat *st) {
  char mode[11], links[8], date[13], uid[11], gid[11];
  mode_letters(mode, st->st_mode);
  time_text(date, st->st_mtime);
  snprintf(links, sizeof links, "%u", (unsigned)st->st_nlink);
  const char *user = name_or_number(sftp_user_name(st->st_uid), st->st_uid, uid);
  const char *group = name_or_number(sftp_group_name(st->st_gid), st->st_gid, gid);
  snprintf(out, SFTP_LONG_NAME, "%s  %3s %-8s %-8s %8llu %s %s", mode, links, user, group, (unsigned long long)st->st_size, date, name);
}
