// Converts an IFC file to a GLB in a worker of its own, which ends with the conversion.
import { ImportError, type Progress } from './convert'
import type { Answer } from './worker'

export { ImportError, type Progress } from './convert'

/** Takes the bytes over (they are transferred to the worker). Rejects with an `ImportError`. */
export function convertIfc(
  bytes: ArrayBuffer,
  onProgress: (progress: Progress) => void,
  signal?: AbortSignal,
): Promise<ArrayBuffer> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' })
    const end = (settle: () => void) => {
      worker.terminate()
      settle()
    }
    signal?.addEventListener('abort', () =>
      end(() => reject(new ImportError('the conversion was stopped'))),
    )
    worker.onerror = () =>
      end(() => reject(new ImportError('the import worker could not be started')))
    worker.onmessage = (event: MessageEvent<Answer>) => {
      const answer = event.data
      if (answer.kind === 'progress') onProgress(answer.progress)
      else if (answer.kind === 'done') end(() => resolve(answer.glb))
      else end(() => reject(new ImportError(answer.message)))
    }
    worker.postMessage(bytes, [bytes])
  })
}
