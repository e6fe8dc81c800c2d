// Failures as one error type: an RFC 9457 document from the server, or "the server did not answer".
import type { Problem } from './types'

export class ProblemError extends Error {
  readonly problem: Problem

  constructor(problem: Problem) {
    super(problem.detail ?? problem.title)
    this.problem = problem
  }

  get status(): number {
    return this.problem.status
  }

  /** Status 0 stands for "no answer". */
  static unreachable(): ProblemError {
    return new ProblemError({ title: 'unreachable', status: 0 })
  }

  static async fromResponse(response: Response): Promise<ProblemError> {
    return ProblemError.fromText(response.status, await response.text().catch(() => ''))
  }

  static fromText(status: number, text: string): ProblemError {
    return new ProblemError(parseProblem(status, text))
  }

  /** What the page found out itself, in the reader's words. */
  static said(detail: string): ProblemError {
    return new ProblemError({ title: 'client', status: -1, detail })
  }

  static of(error: unknown): ProblemError {
    if (error instanceof ProblemError) return error
    const detail = error instanceof Error ? error.message : String(error)
    return ProblemError.said(detail)
  }
}

function parseProblem(status: number, text: string): Problem {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && 'title' in value) {
      return { ...(value as Problem), status }
    }
  } catch {
    // Not JSON: a proxy answered, so only the status is known.
  }
  return { title: `HTTP ${status}`, status }
}
