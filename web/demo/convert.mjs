// Converts an IFC file to a GLB with the same code as the browser's import worker:
//   node demo/convert.mjs building.ifc building.glb
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

import { build } from 'vite'
import { IfcAPI } from 'web-ifc'

const [source, target] = process.argv.slice(2)
if (source === undefined || target === undefined) {
  console.error('usage: node demo/convert.mjs BUILDING.ifc BUILDING.glb')
  process.exit(2)
}
const folder = mkdtempSync(join(tmpdir(), 'veritwin-convert-'))
try {
  await build({
    configFile: false,
    logLevel: 'error',
    build: {
      ssr: fileURLToPath(new URL('../src/import/convert.ts', import.meta.url)),
      outDir: folder,
      emptyOutDir: false,
      rolldownOptions: { output: { entryFileNames: 'convert.mjs' } },
    },
  })
  const { convertModel } = await import(pathToFileURL(join(folder, 'convert.mjs')).href)
  const api = new IfcAPI()
  await api.Init()
  const glb = convertModel(api, new Uint8Array(readFileSync(source)), () => {})
  writeFileSync(target, new Uint8Array(glb))
  console.log(`${target}: ${glb.byteLength} bytes`)
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
