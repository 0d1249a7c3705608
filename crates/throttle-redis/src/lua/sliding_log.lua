  -- The sliding window log: an entry of time s counts while t < s + W.
  --
  -- The list has a header, and then the entries (time, cost), oldest first. The header has the sum of the costs,
  -- the newest entry (its time, its time on the log's own clock, and its cost), and the window.
  --
  -- The times of entries are on the log's own clock. That clock stops while the server's clock is stepped back,
  -- and wraps to 0 at 2^49, which is longer than any window. So after a step back only the header is rewritten,
  -- and no entry.
  if kind == SLIDING_WINDOW_LOG then
    local sum, newest, base, last = 0, 0, 0, 0
    if value then
      sum, newest, base, last = struct.unpack('>dddd', value, 2)
      if not (is_whole(sum) and is_whole(newest) and is_whole(base) and is_whole(last)
        and base < 562949953421312 and last <= sum and sum <= 1000000) then
        return nil, i .. ': a number of its log is out of range'
      end
    end

    -- Returns the time of an entry, its cost, and its time on the log's own clock; nil if it is invalid.
    local function read_entry(bytes)
      if bytes and #bytes == 11 then
        local at, charged = struct.unpack('>dI3', bytes)
        if at >= 0 and at < 562949953421312 and at % 1 == 0 and charged > 0 then
          local age = (base - at) % 562949953421312
          return newest > age and newest - age or 0, charged, at
        end
      end
    end

    -- Walks from the oldest entry forward, or from the newest entry back, until the costs reach a goal. Returns
    -- the entry there, the number of entries before it, and their cost. Batches grow, so that a short walk reads
    -- little and a long walk needs few calls.
    local function walk(goal, back)
      local passed, before, size = 0, 0, 32
      while true do
        local first, final = dropped + passed + 1, dropped + passed + size
        if back then
          first, final = -passed - size, -passed - 1
        end
        local batch = redis.call('LRANGE', key, first, final)
        local count = #batch
        for k = 1, count do
          local at, charged, own = read_entry(batch[back and count + 1 - k or k])
          if not at or before + charged >= goal then
            return at, charged, own, passed, before
          end
          passed, before = passed + 1, before + charged
        end
        if count == 0 then
          return nil
        end
        size = size < 1024 and size * 2 or size
      end
    end

    -- is_ahead, advance
    if sum > 0 and newest > now then
      newest, ahead = now, true -- the clock stepped back
    end
    dropped, cut = 0, 0
    local oldest, oldest_cost
    if now - newest >= window then
      sum = 0
    elseif sum > 0 then
      local first, at, size = 0, 2, 8
      while true do
        if not entries[at] then
          first = first + at - 1
          entries, at = redis.call('LRANGE', key, first, first + size - 1), 1
          size = size < 1024 and size * 2 or size
        end
        oldest, oldest_cost = read_entry(entries[at])
        if not oldest then
          return nil, i .. ': an entry of its log is none'
        end
        if now - oldest < window then
          break
        end
        sum, dropped, at = sum - oldest_cost, dropped + 1, at + 1
      end
      if sum < oldest_cost then
        return nil, i .. ': the entries of its log do not sum up'
      end
      ahead = ahead or dropped > 64 -- remove them even without a charge, so that the next call need not skip them
    end

    -- decide
    if asks and sum + cost > limit then
      local over, freed_by = sum + cost - limit, oldest
      if oldest_cost < over then
        if over <= limit - cost then
          freed_by = walk(over, false)
        else
          freed_by = walk(sum - over + 1, true)
        end
      end
      if not freed_by then
        return nil, i .. ': the entries of its log do not sum up'
      end
      allowed, wait = false, freed_by + window - now
    end

    -- refund
    if refunds and charged_at < 0 and sum > cost then
      local at, charged, own, passed, before = walk(cost, true)
      if not at then
        return nil, i .. ': the entries of its log do not sum up'
      end
      charged, cut = before + charged - cost, passed
      if charged > 0 then
        index, replaced = -1 - cut, struct.pack('>dI3', own, charged)
      else
        cut = cut + 1
        at, charged, own = read_entry(redis.call('LINDEX', key, -1 - cut))
      end
      if not at then
        return nil, i .. ': the entries of its log do not sum up'
      end
      sum, newest, base, last = sum - cost, at, own, charged
    elseif refunds and charged_at < 0 then
      sum = 0
    elseif refunds and sum > 0 and charged_at == newest then
      if last > cost then
        sum, last = sum - cost, last - cost
        index, replaced = -1, struct.pack('>dI3', base, last)
      elseif sum > last then
        local at, charged, own = read_entry(redis.call('LINDEX', key, -2))
        if not at then
          return nil, i .. ': the entries of its log do not sum up'
        end
        sum, cut, newest, base, last = sum - last, 1, at, own, charged
      else
        sum = 0
      end
    elseif refunds and sum > 0 and charged_at >= oldest and charged_at < newest then
      local low, high = dropped + 1, redis.call('LLEN', key) - 2
      while low <= high do
        local middle = math.floor((low + high) / 2)
        local bytes = redis.call('LINDEX', key, middle)
        local at, charged, own = read_entry(bytes)
        if not at then
          return nil, i .. ': an entry of its log is none'
        end
        if at < charged_at then
          low = middle + 1
        elseif at > charged_at then
          high = middle - 1
        elseif charged > cost then
          sum, index, replaced = sum - cost, middle, struct.pack('>dI3', own, charged - cost)
          break
        else
          sum, removed = sum - charged, bytes
          break
        end
      end
    end

    all_allowed, reply = acquire(i + 1, all_allowed and allowed)
    if all_allowed == nil then
      return nil, reply
    end

    -- charge
    fresh = sum == 0
    if fresh then
      newest, base, last = 0, 0, 0
    end
    charges = all_allowed and acquires
    if charges then
      if not fresh and newest == now then
        last = last + cost
        index, replaced = -1, struct.pack('>dI3', base, last)
      else
        base = fresh and 0 or (base + now - newest) % 562949953421312
        newest, last = now, cost
        entry = struct.pack('>dI3', base, last)
      end
      sum, charged_at = sum + cost, now
    end

    -- availability, lifetime
    remaining, lifetime = limit - sum, sum > 0 and newest + window - now or 0
    format, a, b, c, d, e = '>Bddddd', sum, newest, base, last, window
  end
