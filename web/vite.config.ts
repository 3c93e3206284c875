import { defineConfig } from 'vite';

/** Plain files with hashed names, all of them text; nothing is inlined, because the page allows no inline code. */
export default defineConfig({
  root: import.meta.dirname,
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: '../dist/web',
    emptyOutDir: true,
    assetsDir: 'static',
    assetsInlineLimit: 0,
    target: 'es2023',
    modulePreload: false,
    reportCompressedSize: false,
  },
});
