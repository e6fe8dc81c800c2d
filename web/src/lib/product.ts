// The product's name in titles: the brand of this page's host name, once it is known.
let name = 'Veritwin'

export function title(page: string): string {
  return `${page} · ${name}`
}

/** Takes the name into use, in the title that stands already too. */
export function setProduct(next: string): void {
  const end = ` · ${name}`
  const { title: old } = document
  if (old.endsWith(end)) document.title = `${old.slice(0, -end.length)} · ${next}`
  else if (old === name) document.title = next
  name = next
}
