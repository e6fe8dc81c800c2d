// Materials by role and by how a storey is shown. Each is made once, recoloured on a theme change
// and freed with the scene.
import {
  type ColorRepresentation, DoubleSide, LineBasicMaterial, type Material, MeshLambertMaterial,
  type Plane, Color,
} from 'three'

import { type Palette, type Role } from './palette'

/**
 * How a storey is shown: as built; cut open below a plane; as a faint shell above the one that is
 * isolated; or transparent so that the floors can be read through it.
 */
export type Look = 'full' | 'cut' | 'ghost' | 'xray'

const OPACITY: Record<Look, number> = { full: 1, cut: 1, ghost: 0.03, xray: 0.09 }
const EDGE_SHARE: Record<Look, number> = { full: 1, cut: 1.15, ghost: 0.22, xray: 0.42 }

export class Materials {
  private readonly solids = new Map<string, MeshLambertMaterial>()
  private readonly lines = new Map<Look, LineBasicMaterial>()
  private readonly cap = { value: new Color() }
  private readonly capped = { value: 0 }
  private section: Plane | null = null

  constructor(
    private palette: Palette,
    private readonly cutPlane: Plane,
  ) {
    this.cap.value.set(palette.cut)
  }

  solid(role: Role, look: Look): MeshLambertMaterial {
    const key = `${role}|${look}`
    const found = this.solids.get(key)
    if (found !== undefined) return found
    const material = new MeshLambertMaterial({
      flatShading: true, side: DoubleSide, polygonOffset: true, polygonOffsetFactor: 1,
      polygonOffsetUnits: 1,
    })
    material.clipShadows = true
    material.clippingPlanes = this.planes(look)
    // Extruded rooms are hollow to look into, not solids that are cut.
    if (role !== 'room') this.addCap(material, look === 'cut')
    this.solids.set(key, material)
    this.paint(material, role, look)
    return material
  }

  edge(look: Look): LineBasicMaterial {
    const found = this.lines.get(look)
    if (found !== undefined) return found
    const material = new LineBasicMaterial({ transparent: true, depthWrite: false })
    material.clippingPlanes = this.planes(look)
    this.lines.set(look, material)
    this.paintEdge(material, look)
    return material
  }

  /** Opens everything at a plane and fills what it opens with the cut colour. */
  setSection(plane: Plane | null): void {
    this.section = plane
    this.capped.value = plane === null ? 0 : 1
    for (const [key, material] of this.solids) {
      material.clippingPlanes = this.planes(key.split('|')[1] as Look)
    }
    for (const [look, material] of this.lines) material.clippingPlanes = this.planes(look)
  }

  setPalette(palette: Palette): void {
    this.palette = palette
    this.cap.value.set(palette.cut)
    for (const [key, material] of this.solids) {
      const [role, look] = key.split('|') as [Role, Look]
      this.paint(material, role, look)
    }
    for (const [look, material] of this.lines) this.paintEdge(material, look)
  }

  dispose(): void {
    const all: Material[] = [...this.solids.values(), ...this.lines.values()]
    for (const material of all) material.dispose()
    this.solids.clear()
    this.lines.clear()
  }

  private planes(look: Look): Plane[] {
    const cut = look === 'cut' ? [this.cutPlane] : []
    return this.section === null ? cut : [...cut, this.section]
  }

  private paint(material: MeshLambertMaterial, role: Role, look: Look): void {
    const color: ColorRepresentation = this.palette.roles[role]
    material.color.set(color)
    const isGlass = role === 'glass'
    material.opacity = OPACITY[look] * (isGlass ? this.palette.glassOpacity : 1)
    material.transparent = material.opacity < 1
    material.depthWrite = !material.transparent
  }

  private paintEdge(material: LineBasicMaterial, look: Look): void {
    material.color.set(this.palette.edge)
    material.opacity = Math.min(1, this.palette.edgeOpacity * EDGE_SHARE[look])
  }

  /** Back faces show only where a plane has opened a solid: there they are the cut surface. */
  private addCap(material: MeshLambertMaterial, isAlways: boolean): void {
    material.onBeforeCompile = (shader) => {
      shader.uniforms['capColor'] = this.cap
      shader.uniforms['capOn'] = isAlways ? { value: 1 } : this.capped
      shader.fragmentShader = shader.fragmentShader
        .replace('void main() {', 'uniform vec3 capColor;\nuniform float capOn;\nvoid main() {')
        .replace(
          '#include <opaque_fragment>',
          `#include <opaque_fragment>
          if (capOn > 0.5 && !gl_FrontFacing && gl_FragColor.a > 0.9) gl_FragColor.rgb = capColor;`,
        )
    }
    material.customProgramCacheKey = () => (isAlways ? 'cap' : 'cap-on-section')
  }
}
