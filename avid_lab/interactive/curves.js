// Curves that grow: lines and filled steps on a canvas, named at their ends, with marks for what was changed.

const TOP = 30, FOOT = 36

function render({model, el}) {
    const root = element("div", "avid-chart", el)
    const stage = element("div", "avid-stage", root)
    const canvas = element("canvas", "avid-curves", stage)
    canvas.setAttribute("role", "img")

    function draw() {
        const look = model.get("_look"), width = stage.clientWidth
        if (!width) return
        stage.style.height = `${look.height}px`
        canvas.setAttribute("aria-label", `${look.title}. ${look.said}`)
        const p = pen(canvas, width, look.height), colours = theme(root)
        const font = getComputedStyle(root).fontFamily
        const [x0, x1] = look.x, [y0, y1] = look.y
        const box = {left: look.rows.length ? 84 : 46, top: TOP, right: width - look.room, bottom: look.height - FOOT}
        const X = x => box.left + (x - x0) / (x1 - x0) * (box.right - box.left)
        const Y = y => box.bottom - (y - y0) / (y1 - y0) * (box.bottom - box.top)
        const write = (text, x, y, colour, align = "left", face = "11px") => {
            p.font = `${face} ${font}`
            p.textAlign = align
            p.fillStyle = colour
            p.fillText(text, x, y)
        }
        const stroke = (path, colour, wide, dash = []) => {
            p.strokeStyle = colour
            p.lineWidth = wide
            p.lineJoin = "round"
            p.setLineDash(dash)
            p.stroke(path)
            p.setLineDash([])
        }

        write(look.title, 8, 17, colours.ink, "left", "650 13px")
        for (const value of ticks(x0, x1, (box.right - box.left) / 70)) {
            if (look.whole && value % 1) continue
            write(tickText(value), X(value), box.bottom + 15, colours.muted, "center")
        }
        write(look.xlabel, (box.left + box.right) / 2, look.height - 6, colours.muted, "center")
        if (look.rows.length) {
            for (const [y, name, value] of look.rows) {
                write(name, box.left - 8, Y(y) - 8, colours.ink, "right")
                write(value, box.right + 8, Y(y) - 8, colours.ink, "left", "600 11px")
                const base = new Path2D()
                base.moveTo(box.left, Y(y))
                base.lineTo(box.right, Y(y))
                stroke(base, colours.faint, 1)
            }
        } else {
            for (const value of ticks(y0, y1, (box.bottom - box.top) / 36)) {
                const line = new Path2D()
                line.moveTo(box.left, Y(value))
                line.lineTo(box.right, Y(value))
                stroke(line, colours.grid, 1)
                write(look.percent ? `${tickText(100 * value)} %` : tickText(value), box.left - 6, Y(value) + 4,
                    colours.muted, "right")
            }
        }

        p.save()
        p.beginPath()
        p.rect(box.left - 2, box.top - 4, box.right - box.left + 4, box.bottom - box.top + 6)
        p.clip()
        const bytes = model.get("_data")
        const data = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength))
        const ends = []
        let at = 0
        for (const s of model.get("_series")) {
            const xs = data.subarray(at, at + s.n), ys = data.subarray(at + s.n, at + 2 * s.n)
            at += 2 * s.n
            const path = new Path2D(), colour = readable(s.colour || colours.ink, colours.dark)
            let pen_down = false
            for (let i = 0; i < s.n; i++) {
                if (!Number.isFinite(ys[i])) { pen_down = false; continue }
                if (pen_down) path.lineTo(X(xs[i]), Y(ys[i]))
                else path.moveTo(X(xs[i]), Y(ys[i]))
                pen_down = true
                if (s.end && (i === s.n - 1)) ends.push({y: Y(ys[i]), text: s.end, colour})
            }
            p.globalAlpha = s.alpha
            if (s.fill) {
                const area = new Path2D(path)
                area.lineTo(X(xs[s.n - 1]), Y(s.base))
                area.lineTo(X(xs[0]), Y(s.base))
                p.fillStyle = colour
                p.globalAlpha = 0.3
                p.fill(area)
                p.globalAlpha = s.alpha
            }
            stroke(path, colour, s.width, s.dash ? [5, 4] : [])
            if (s.n === 1) {
                p.beginPath()
                p.arc(X(xs[0]), Y(ys[0]), 2.5, 0, 7)
                p.fillStyle = colour
                p.fill()
            }
            p.globalAlpha = 1
        }
        p.restore()

        // What was changed: a line each, and the words of those that have room, newest first.
        const taken = []
        for (const {x, text} of [...model.get("_marks")].reverse()) {
            if (x < x0 || x > x1) continue
            const line = new Path2D()
            line.moveTo(X(x), box.top)
            line.lineTo(X(x), box.bottom)
            stroke(line, colours.muted, 1, [3, 3])
            p.font = `11px ${font}`
            const wide = p.measureText(text).width, leans = X(x) + wide + 6 > box.right
            const left = leans ? X(x) - wide - 4 : X(x) + 4
            const row = [0, 1, 2].find(r => !taken.some(t => t.row === r && left < t.right && left + wide > t.left))
            if (row === undefined) continue
            taken.push({row, left: left - 6, right: left + wide + 6})
            p.lineWidth = 3
            p.strokeStyle = colours.paper
            p.lineJoin = "round"
            p.textAlign = "left"
            p.strokeText(text, left, box.top + 8 + 13 * row)
            write(text, left, box.top + 8 + 13 * row, colours.ink)
        }

        ends.sort((a, b) => a.y - b.y)
        for (let i = 1; i < ends.length; i++) ends[i].y = Math.max(ends[i].y, ends[i - 1].y + 13)
        const over = ends.length ? ends[ends.length - 1].y - box.bottom : 0
        for (const end of ends) write(end.text, box.right + 6, end.y + 4 - Math.max(0, over), end.colour, "left", "600 11px")
    }

    const [ask, stop] = redrawn(stage, draw)
    model.on("change:_data change:_look change:_marks", ask)
    ask()
    return stop
}

export default {render}
