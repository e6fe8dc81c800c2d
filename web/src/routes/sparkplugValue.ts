// Values for metrics of Sparkplug B, as people enter them.
import type { SparkplugMetric, Value } from '../api/types'

/** Types that the platform writes. */
const NUMBERS = /^(U?Int(8|16|32|64)|Float|Double|DateTime)$/
const TEXTS = /^(String|Text|UUID)$/

/** What was entered, as a value of the metric's type; undefined when it is none. */
export function entered(type: string, text: string): Value | undefined {
  if (TEXTS.test(type)) return text
  const trimmed = text.trim()
  if (type === 'Boolean') return trimmed === 'true' ? true : trimmed === 'false' ? false : undefined
  if (!NUMBERS.test(type) || trimmed === '') return undefined
  const number = Number(trimmed)
  return Number.isFinite(number) ? number : undefined
}

/** Whether a value of the metric can be entered here. */
export function canWrite(metric: SparkplugMetric): boolean {
  const isWritable = metric.type === 'Boolean' || NUMBERS.test(metric.type)
  return !metric.stale && !metric.control && (isWritable || TEXTS.test(metric.type))
}
