// Stretches of a chart that a simulation made up: from each made-up point to the one after it.

export function simulatedSpans(atMs: number[], simulated: boolean[]): [number, number][] {
  const spans: [number, number][] = []
  simulated.forEach((is, index) => {
    const from = atMs[index]
    if (!is || from === undefined) return
    const to = atMs[index + 1] ?? from
    const last = spans.at(-1)
    if (last !== undefined && last[1] === from) last[1] = to
    else spans.push([from, to])
  })
  return spans
}
