// The import worker: the only place where WebAssembly runs. Its own response carries the policy
// that allows it; the page's does not.
import { IfcAPI } from 'web-ifc'
import wasmUrl from 'web-ifc/web-ifc.wasm?url'

import { convertModel, ImportError, type Progress } from './convert'

export type Answer =
  | { kind: 'progress'; progress: Progress }
  | { kind: 'done'; glb: ArrayBuffer }
  | { kind: 'failed'; message: string }

const answer = (message: Answer, transfer: Transferable[] = []) =>
  self.postMessage(message, { transfer })

self.onmessage = async (event: MessageEvent<ArrayBuffer>) => {
  try {
    const api = new IfcAPI()
    await api.Init(() => new URL(wasmUrl, self.location.href).href, true)
    const glb = convertModel(api, new Uint8Array(event.data), (progress) =>
      answer({ kind: 'progress', progress }),
    )
    answer({ kind: 'done', glb }, [glb])
  } catch (error) {
    const message =
      error instanceof ImportError
        ? error.message
        : `the file could not be converted (${error instanceof Error ? error.message : 'unknown fault'})`
    answer({ kind: 'failed', message })
  }
}
