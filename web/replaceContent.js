// @ts-check
/**
 * Replaces the content of an element by new HTML and changes only what differs, so that focus, selected text, scroll positions
 * and open details survive. Elements with `data-key` are found again when their position changes.
 */

/** Our server has escaped every value in this HTML. Nothing else on the page may make HTML of a text. */
const policy = window.trustedTypes?.createPolicy('status-page', { createHTML: text => text })

/** @param {Element} element @param {string} html */
export function replaceContent(element, html) {
  const trusted = /** @type {string} */ (policy?.createHTML(html) ?? html)
  const { body } = new DOMParser().parseFromString(trusted, 'text/html')
  const restore = rememberPlace(element)
  replaceChildren(element, body)
  restore()
}

/** @param {Element} section @returns {() => void} */
function rememberPlace(section) {
  const focused = document.activeElement
  const selection = document.getSelection()
  const { anchorNode, anchorOffset = 0, focusNode, focusOffset = 0, isCollapsed = true } = selection ?? {}
  return () => {
    if (focused instanceof HTMLElement && document.activeElement !== focused) {
      if (focused.isConnected) focused.focus({ preventScroll: true })
      /** @type {HTMLElement | null} */ else section.parentElement?.querySelector('h2')?.focus({ preventScroll: true })
    }
    if (!selection || isCollapsed || !anchorNode?.isConnected || !focusNode?.isConnected) return
    const isUnchanged =
      selection.anchorNode === anchorNode &&
      selection.anchorOffset === anchorOffset &&
      selection.focusNode === focusNode &&
      selection.focusOffset === focusOffset
    if (isUnchanged) return
    const start = Math.min(anchorOffset, lengthOf(anchorNode))
    selection.setBaseAndExtent(anchorNode, start, focusNode, Math.min(focusOffset, lengthOf(focusNode)))
  }
}

/** @param {Node} node */
const lengthOf = node => (node instanceof CharacterData ? node.length : node.childNodes.length)

/** @param {Node} node */
const keyOf = node => (node instanceof Element ? node.getAttribute('data-key') : null)

/** The script owns these: the content of charts, and buttons that it has made visible. @param {Node} node */
const isOwn = node =>
  node instanceof Element && (node.hasAttribute('data-chart') || node.hasAttribute('data-copy-button'))

/** @param {Element} parent @param {Element} wanted */
function replaceChildren(parent, wanted) {
  const wantedKeys = new Set([...wanted.childNodes].map(keyOf))
  for (const child of [...parent.childNodes]) {
    const key = keyOf(child)
    if (key !== null && !wantedKeys.has(key)) child.remove()
  }
  /** @type {ChildNode | null} */
  let next = parent.firstChild
  for (const child of [...wanted.childNodes]) {
    const found = findMatch(child, next)
    if (!found) {
      parent.insertBefore(document.adoptNode(child), next)
      continue
    }
    if (found === next) next = next.nextSibling
    else if (parent.moveBefore) parent.moveBefore(found, next)
    else parent.insertBefore(found, next)
    update(found, child)
  }
  while (next) {
    const { nextSibling } = next
    next.remove()
    next = nextSibling
  }
}

/**
 * The node that shows `child` already: the next one of the same key, or the next one if neither has a key.
 *
 * @param {ChildNode} child @param {ChildNode | null} next @returns {ChildNode | null}
 */
function findMatch(child, next) {
  const key = keyOf(child)
  if (key === null) return next && next.nodeName === child.nodeName && keyOf(next) === null ? next : null
  for (let node = next; node; node = node.nextSibling) {
    if (keyOf(node) === key && node.nodeName === child.nodeName) return node
  }
  return null
}

/** @param {ChildNode} node @param {ChildNode} wanted */
function update(node, wanted) {
  if (node instanceof Element && wanted instanceof Element) {
    if (isOwn(node)) return
    replaceAttributes(node, wanted)
    replaceChildren(node, wanted)
  } else if (node.nodeValue !== wanted.nodeValue) {
    node.nodeValue = wanted.nodeValue
  }
}

/** @param {Element} element @param {Element} wanted */
function replaceAttributes(element, wanted) {
  for (const { name, value } of wanted.attributes) {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value)
  }
  for (const { name } of [...element.attributes]) {
    // A reader has opened it.
    const isReaders = name === 'open' && element instanceof HTMLDetailsElement
    if (!wanted.hasAttribute(name) && !isReaders) element.removeAttribute(name)
  }
}
