// What every canvas of this package shares: the page's colours, sharp pixels, a size that follows the page.
// It is put in front of each widget's own script.

const RED_GREEN_BLUE = /[\d.]+/g

/** A colour of any CSS notation as [red, green, blue], 0 to 255. */
function channels(colour) {
    const pen = channels.pen ??= document.createElement("canvas").getContext("2d", {willReadFrequently: true})
    pen.fillStyle = "#000"
    pen.fillStyle = colour
    const hex = pen.fillStyle
    if (hex.startsWith("#")) return [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16))
    return hex.match(RED_GREEN_BLUE).slice(0, 3).map(Number)
}

const luminance = ([r, g, b]) => (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255

/** The page's colours: JupyterLab's, VS Code's or Colab's variables, else black on white. */
function theme(node) {
    const style = getComputedStyle(node)
    const first = (names, other) => names.map(name => style.getPropertyValue(name).trim()).find(Boolean) ?? other
    const paper = first(["--jp-layout-color0", "--vscode-editor-background", "--colab-primary-surface-color"], "#ffffff")
    const dark = luminance(channels(paper)) < 0.5
    return {
        paper, dark,
        ink: dark ? "#e8ebef" : "#1d2733",
        muted: dark ? "#a3adb8" : "#66717e",
        faint: dark ? "#5a636e" : "#c3cad2",
        grid: dark ? "#2c333b" : "#e8ebef",
    }
}

/** On dark paper dark colours are mixed with white until they stand out. */
function readable(colour, dark) {
    let mixed = channels(colour)
    for (let i = 0; dark && luminance(mixed) < 0.42 && i < 12; i++) mixed = mixed.map(c => c + 0.12 * (255 - c))
    return `rgb(${mixed.map(Math.round).join(",")})`
}

/** Size a canvas in screen pixels, whatever the screen's density, and return a cleared pen in CSS pixels. */
function pen(canvas, width, height) {
    const density = window.devicePixelRatio || 1
    const pixels = [Math.round(width * density), Math.round(height * density)]
    if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels
    const context = canvas.getContext("2d")
    context.setTransform(density, 0, 0, density, 0, 0)
    context.clearRect(0, 0, width, height)
    return context
}

/** Round numbers from low to high, about `count` of them. */
function ticks(low, high, count) {
    const rough = (high - low) / Math.max(count, 1), power = 10 ** Math.floor(Math.log10(rough))
    const step = power * [1, 2, 2.5, 5, 10].find(m => m * power >= rough * 0.999)
    const found = []
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step)
    return found
}

const tickText = value => String(+value.toPrecision(6)).replace("-", "−")

/** Call `draw` when the size, the theme or the screen's density changes, at most once a frame; returns [ask, stop]. */
function redrawn(node, draw) {
    let asked = 0
    const ask = () => { asked ||= requestAnimationFrame(now => { asked = 0; draw(now) }) }
    const size = new ResizeObserver(ask), look = new MutationObserver(ask)
    size.observe(node)
    look.observe(document.body, {attributes: true})
    look.observe(document.documentElement, {attributes: true})
    window.addEventListener("resize", ask)
    const stop = () => {
        cancelAnimationFrame(asked)
        size.disconnect()
        look.disconnect()
        window.removeEventListener("resize", ask)
    }
    return [ask, stop]
}

/** Send a trait to the kernel at most every `wait_ms`; the last value always arrives. */
function sender(model, wait_ms) {
    let timer = 0, last = 0
    const send = () => { timer = 0; last = performance.now(); model.save_changes() }
    return () => { timer ||= setTimeout(send, Math.max(0, last + wait_ms - performance.now())) }
}

/** A new element with a class and a parent. */
function element(tag, name, parent) {
    const node = document.createElement(tag)
    node.className = name
    parent.append(node)
    return node
}
