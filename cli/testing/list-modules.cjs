// Preloaded into a process under test: at its end writes the files that it required to $LIST_MODULES.
process.on('exit', () => require('node:fs').writeFileSync(process.env.LIST_MODULES, Object.keys(require.cache).join('\n')));
