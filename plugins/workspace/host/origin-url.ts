// A remote's URL without what would let its reader in.

/**
 * The URL without a password. `http` and `https`: without anything before the `@`, because a user's name alone may be a token there; others
 * keep their user (`ssh://git@host/x`). What is no URL (a path, `git@host:x`) stays as it is.
 */
export function withoutSecrets(url: string): string {
  const match = /^([A-Za-z][A-Za-z0-9+.-]*(?:::[A-Za-z][A-Za-z0-9+.-]*)*):\/\/([^/?#]*)(.*)$/s.exec(url);
  if (!match) return url;
  const [, scheme = '', authority = '', rest = ''] = match;
  const at = authority.lastIndexOf('@');
  if (at < 0) return url;
  const isWeb = /(?:^|:)(?:https?|ftps?)$/i.test(scheme);
  const user = authority.slice(0, at).split(':')[0] ?? '';
  return `${scheme}://${isWeb || user === '' ? '' : `${user}@`}${authority.slice(at + 1)}${rest}`;
}
