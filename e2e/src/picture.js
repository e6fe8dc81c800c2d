// How much there is to see in a picture.
import { PNG } from 'pngjs'

/** The number of different colours, each channel in 32 steps. @param {Buffer} png */
export function variety(png) {
  const { data } = PNG.sync.read(png)
  const found = new Set()
  for (let i = 0; i < data.length; i += 4) {
    found.add(((data[i] >> 3) << 10) | ((data[i + 1] >> 3) << 5) | (data[i + 2] >> 3))
  }
  return found.size
}
