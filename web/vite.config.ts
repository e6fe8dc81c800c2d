// Build of the web front-end. Nothing is inlined: every byte is served first-party under a
// strict content security policy.
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  plugins: [react()],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1200,
    reportCompressedSize: false,
  },
  worker: {
    format: 'es',
    rolldownOptions: {
      // The server recognises the import worker by this name: its response alone may run
      // WebAssembly.
      output: { entryFileNames: 'assets/import-worker-[hash].js' },
    },
  },
  // On a busy machine the hashing of a whole tree takes seconds.
  test: { environment: 'node', include: ['src/**/*.test.ts'], testTimeout: 30_000 },
})
