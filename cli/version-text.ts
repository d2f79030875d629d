import type { BuildInfo } from '../core/build-info.ts';

/** One line, for `--version`. */
export const versionLine = (info: BuildInfo): string =>
  `banger ${info.version} (commit ${info.commit?.slice(0, 8) ?? 'unknown'}, built ${info.builtAt ?? 'never'})\n`;
/** Several lines, for `banger version`. */
export const versionText = (info: BuildInfo): string =>
  `version   ${info.version}\ncommit    ${info.commit ?? 'unknown'}\nbuilt_at  ${info.builtAt ?? 'never'}\nbuild     ${info.build}\n`;
