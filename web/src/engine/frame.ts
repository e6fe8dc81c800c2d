// From the model's coordinates (metres, Z up, wherever the surveyor put them) to the scene's
// (Y up, near the origin, so that 32-bit floats are fine enough) and back.
import { Box3, Vector3 } from 'three'

import type { SceneModel, Vec3 } from './types'

export class Frame {
  private readonly origin: Vec3

  constructor(bounds: SceneModel['bounds']) {
    const { min, max } = bounds
    this.origin = [(min[0] + max[0]) / 2, (min[1] + max[1]) / 2, min[2]]
  }

  toScene([x, y, z]: Vec3): Vector3 {
    return new Vector3(x - this.origin[0], z - this.origin[2], this.origin[1] - y)
  }

  toModel(point: Vector3): Vec3 {
    return [point.x + this.origin[0], this.origin[1] - point.z, point.y + this.origin[2]]
  }

  /** Where a Y-up glTF in model coordinates has to be put. */
  get gltfOffset(): Vector3 {
    return new Vector3(-this.origin[0], -this.origin[2], this.origin[1])
  }

  box(bounds: SceneModel['bounds']): Box3 {
    return new Box3().setFromPoints([this.toScene(bounds.min), this.toScene(bounds.max)])
  }
}
